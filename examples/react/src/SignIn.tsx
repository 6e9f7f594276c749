import { type FormEvent, useEffect, useState } from "react";
import { Navigate, useSearchParams } from "react-router";
import { auth, provider } from "./auth";
import { problemOf } from "./problem";
import { useSession } from "./useSession";

/** SignInPage is the form as a page, which leads home afterwards. */
export function SignInPage() {
  return useSession().status === "signed_in" ? <Navigate to="/" replace /> : <SignIn />;
}

/** SignIn signs in with a password or at a provider. */
export function SignIn() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useLoginError();

  async function signIn(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setProblem("");
    try {
      await auth.signIn(String(form.get("username")), String(form.get("password")));
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
    }
  }

  return (
    <form onSubmit={signIn}>
      <h1>Sign in</h1>
      {problem && <p role="alert">{problem}</p>}
      <label>
        User name
        <input name="username" autoComplete="username" required />
      </label>
      <label>
        Password
        <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button disabled={busy}>Sign in</button>
      <button type="button" onClick={() => auth.login({ provider })}>
        Sign in with {provider}
      </button>
    </form>
  );
}

/** useLoginError starts with the error that the broker came back with from a provider, and takes it out of the URL. */
function useLoginError() {
  const [params, setParams] = useSearchParams();
  const state = useState(() => (params.has("error") ? problemOf(params.get("error")) : ""));
  useEffect(() => {
    if (!params.has("error")) return;
    params.delete("error");
    setParams(params, { replace: true });
  }, [params, setParams]);
  return state;
}
