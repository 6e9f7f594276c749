import { createClient } from "tokenbroker-client";

// The addresses are those of `tokenbroker dev`, unless the build sets others.
const { VITE_BROKER, VITE_SERVICE, VITE_PROVIDER } = import.meta.env;

/** The protected service, and the provider of the second button. */
export const service: string = VITE_SERVICE ?? "http://127.0.0.1:8082";
export const provider: string = VITE_PROVIDER ?? "cognito";

/** The page's only client. It is made outside of all components, which come and go. */
export const auth = createClient({ base: VITE_BROKER ?? `http://${location.hostname}:8080`, api: [service] });

// An edit of this file in development loads the page again: components would keep the client before.
import.meta.hot?.accept(() => location.reload());
