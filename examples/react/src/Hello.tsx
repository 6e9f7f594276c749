import { useState } from "react";
import { auth, service } from "./auth";
import { problemOf } from "./problem";

/** Hello calls the protected service; auth.fetch adds the access token, and gets a new one when it is due. */
export function Hello() {
  const [answer, setAnswer] = useState("");
  async function call() {
    try {
      const response = await auth.fetch(`${service}/hello`);
      const body = await response.json();
      setAnswer(response.ok ? `Hello, ${body.hello}` : `${response.status}: ${body.code}`);
    } catch (error) {
      setAnswer(problemOf(error));
    }
  }
  return (
    <>
      <h1>Protected page</h1>
      <button onClick={call}>Call the service</button>
      <output>{answer}</output>
    </>
  );
}
