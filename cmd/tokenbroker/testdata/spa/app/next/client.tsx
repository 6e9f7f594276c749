// What Next.js does in the browser with a page that the server has rendered.
import { StrictMode } from "react";
import { hydrateRoot } from "react-dom/client";
import Page from "./app/page";

hydrateRoot(document.getElementById("root")!, <StrictMode><Page /></StrictMode>);
