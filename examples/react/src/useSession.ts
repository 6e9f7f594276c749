import { useSyncExternalStore } from "react";
import type { Snapshot } from "tokenbroker-client";
import { auth } from "./auth";

/** useSession returns { status, session, reason }, and renders the component again when it changes. */
export function useSession(): Snapshot {
  return useSyncExternalStore(auth.onChange, auth.snapshot, auth.snapshot);
}
