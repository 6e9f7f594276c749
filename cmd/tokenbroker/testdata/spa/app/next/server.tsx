// What Next.js does on the server. The process has to end by itself.
import { StrictMode } from "react";
import { renderToString } from "react-dom/server";
import Page from "./app/page";

process.stdout.write(renderToString(<StrictMode><Page /></StrictMode>));
