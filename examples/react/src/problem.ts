import { AuthError, type BrokerErrorCode, type ClientErrorCode } from "tokenbroker-client";

// A code without a text is shown unchanged.
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

/** problemOf returns the text to show for an error or an error code. */
export function problemOf(error: unknown): string {
  const code = error instanceof AuthError ? error.code : String(error);
  return (texts as Record<string, string | undefined>)[code] ?? code;
}
