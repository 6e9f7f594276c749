import { AuthError, type BrokerErrorCode, type ClientErrorCode } from "tokenbroker-client";

// A code without a text of its own is shown as it is.
const texts: Partial<Record<BrokerErrorCode | ClientErrorCode, string>> = {
  invalid_credentials: "The user name or the password is wrong.",
  too_many_attempts: "Too many attempts. Try again in a minute.",
  user_disabled: "This account is disabled.",
  login_state_invalid: "The sign-in took too long. Try again.",
  network: "The sign-in server does not answer.",
  timeout: "The sign-in server does not answer.",
  no_session: "You have been signed out.",
  user_changed: "Another user has signed in in this browser.",
};

/** problemOf returns what to tell a person about an error, or about the code of one. */
export function problemOf(error: unknown): string {
  const code = error instanceof AuthError ? error.code : String(error);
  return (texts as Record<string, string | undefined>)[code] ?? code;
}
