import { useEffect, useState } from "react";
import { Link, Route, Routes } from "react-router";
import { auth } from "./auth";
import { Guard } from "./Guard";
import { Header } from "./Header";
import { Hello } from "./Hello";
import { problemOf } from "./problem";
import { SignInPage } from "./SignIn";
import { useSession } from "./useSession";

/** App finds out who is signed in, and shows nothing that depends on it before. */
export function App() {
  const { status, reason } = useSession();
  const [problem, setProblem] = useState("");
  function start() {
    setProblem("");
    auth.start().catch((error) => setProblem(problemOf(error)));
  }
  useEffect(start, []); // StrictMode runs it twice; the client asks the broker once

  if (status === "unknown" || reason === "user_changed") {
    const text = reason ? problemOf(reason) : problem;
    if (!text) return <p role="status">Loading …</p>;
    return (
      <main>
        <p role="alert">{text}</p>
        <button onClick={start}>{reason ? "Continue as that user" : "Try again"}</button>
      </main>
    );
  }
  return (
    <>
      <Header />
      <main>
        <Routes>
          <Route path="/" element={<p>Everybody sees this page. The <Link to="/hello">protected page</Link> is for users.</p>} />
          <Route path="/sign-in" element={<SignInPage />} />
          <Route element={<Guard />}>
            <Route path="/hello" element={<Hello />} />
          </Route>
          <Route path="*" element={<p>There is no such page.</p>} />
        </Routes>
      </main>
    </>
  );
}
