import { useState } from "react";
import { Link } from "react-router";
import { auth } from "./auth";
import { problemOf } from "./problem";
import { useSession } from "./useSession";

/** Header says who is signed in. Sign out ends the session for all tabs, and for all services. */
export function Header() {
  const { session } = useSession();
  const [problem, setProblem] = useState("");
  function signOut() {
    setProblem("");
    auth.logOff().catch((error) => setProblem(problemOf(error)));
  }
  return (
    <header>
      <Link to="/">Home</Link>
      <Link to="/hello">Protected page</Link>
      {session ? <strong>{String(session.user?.username)}</strong> : <Link to="/sign-in">Sign in</Link>}
      {session && <button onClick={signOut}>Sign out</button>}
      {problem && <span role="alert">{problem}</span>}
    </header>
  );
}
