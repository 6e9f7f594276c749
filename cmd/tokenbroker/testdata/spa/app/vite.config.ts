import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

// The documented files are copied beside this one; `vite build vue` builds one of the applications.
const fromEnvironment = (name: string) => ({ [`process.env.NEXT_PUBLIC_${name}`]: JSON.stringify(process.env[`VITE_${name}`]) });

export default defineConfig({
  plugins: [vue()],
  define: { ...fromEnvironment("BROKER"), ...fromEnvironment("SERVICE") },
});
