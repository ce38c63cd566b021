import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { problemOf } from "../api/errors";
import { isLocal, mayLook } from "../model/people";
import { routeHref } from "../model/route";
import { useSession } from "../session";
import { Logo } from "../ui/logo";
import { ErrorNotice } from "../ui/notice";
import { Popover } from "../ui/popover";
import { ChangePassword } from "./change-password";

/** The bar at the top: the brand, and who is signed in with what they can do about it. */
export function Header(): VNode {
  const { broker, user, ended } = useSession();
  const [open, setOpen] = useState(false);
  const [changing, setChanging] = useState(false);
  const [message, setMessage] = useState("");

  const signOut = async (): Promise<void> => {
    setMessage("");
    try {
      const { continueAt } = await broker.signOut({});
      // Or the next person at this computer would be in by a click.
      if (continueAt.startsWith("https://") || continueAt.startsWith("http://")) {
        location.assign(continueAt);
        return;
      }
    } catch (error) {
      const problem = problemOf(error);
      // The cookie is out of the page's reach: without the server's word it is still good.
      if (problem.kind !== "signed-out") {
        setMessage(`You are still signed in. ${problem.message}`);
        return;
      }
    }
    ended("You are signed out. Your desktops keep running.");
  };

  return (
    <header class="header">
      <a class="brand" href="#/">
        <Logo />
        <span>Rolltop</span>
      </a>
      {mayLook(user) && (
        <a class="button button-quiet header-operate" href={routeHref({ page: "operator", tab: "overview" })} data-testid="operate">
          Operate
        </a>
      )}
      <Popover
        label={`Signed in as ${user.name}`}
        text={user.fullName === "" ? user.name : user.fullName}
        icon="user"
        testId="user-menu"
        open={open}
        onToggle={setOpen}
      >
        <p class="panel-note">
          Signed in as <strong>{user.name}</strong>
        </p>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <a class="menu-item" href={routeHref({ page: "account" })} data-testid="account" onClick={() => setOpen(false)}>
          Account
          <small>Second factor, tokens for programs</small>
        </a>
        {isLocal(user) && (
          <button
            type="button"
            class="menu-item"
            data-testid="change-password"
            onClick={() => {
              setOpen(false);
              setChanging(true);
            }}
          >
            Change password
          </button>
        )}
        <button type="button" class="menu-item" data-testid="sign-out" onClick={() => void signOut()}>
          Sign out
        </button>
      </Popover>
      {changing && <ChangePassword onClose={() => setChanging(false)} />}
    </header>
  );
}
