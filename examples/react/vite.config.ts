import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page is at the host of the broker's URL: to browsers, localhost and 127.0.0.1 are two sites,
// and a cookie of one is not sent to the other.
const host = "127.0.0.1";

export default defineConfig({
  plugins: [react()],
  server: { host, fs: { allow: [".", "../../api/web"] } },
  preview: { host },
});
