import { Outlet } from "react-router";
import { SignIn } from "./SignIn";
import { useSession } from "./useSession";

/**
 * Guard shows the routes inside it to users, and the sign-in form to others. The URL stays the same,
 * so that the user is at the wanted page afterwards, also after a sign-in at a provider.
 */
export function Guard() {
  return useSession().status === "signed_in" ? <Outlet /> : <SignIn />;
}
