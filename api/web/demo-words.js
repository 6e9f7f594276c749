// What the demo page says to people about an error of the SDK.

const WORDS = {
  invalid_credentials: "This user name and password do not match. Try admin and admin.",
  network: "The broker does not answer. Is tokenbroker dev still running?",
  timeout: "The broker does not answer in time. Try again.",
  no_session: "The session has ended. Sign in again.",
  session_revoked: "The session was ended. Sign in again.",
  session_expired: "The session has expired. Sign in again.",
  refresh_token_reused: "Someone used an old copy of this session's cookie, so the session was ended.",
  user_changed: "Another user has signed in in this browser.",
  user_disabled: "This account is disabled.",
  provider_error: "The provider did not sign you in. Try again, or use a password.",
  email_not_verified: "The provider has not verified your e-mail address yet.",
  upstream_unavailable: "The provider does not answer. Try again, or use a password.",
  login_state_invalid: "This sign-in was started in another browser or too long ago. Try again.",
  login_already_used: "This sign-in was completed before. Try again.",
};

export function wordsFor({ code, retryAfter, message, name } = {}) {
  if (retryAfter) return `Too many requests at the moment. Try again in ${Math.ceil(retryAfter)} s.`;
  if (WORDS[code]) return WORDS[code];
  if (name === "TypeError") return "A service does not answer. Is tokenbroker dev still running?";
  return message ? `${message.replace(/^./, (c) => c.toUpperCase()).replace(/\.?$/, ".")}` : "That did not work. Try again.";
}

export const named = (provider) => (provider ? provider[0].toUpperCase() + provider.slice(1) : "the provider");

// figure writes milliseconds with two or three digits.
export const figure = (ms) => (ms < 10 ? ms.toFixed(1) : String(Math.round(ms)));
