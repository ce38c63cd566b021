import type { VNode } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { useListed } from "../act";
import { peopleAt } from "../api/client";
import { isLocal, roleName, signInBy } from "../model/people";
import { routeHref } from "../model/route";
import { useSession } from "../session";
import { ErrorNotice } from "../ui/notice";
import { Facts } from "../ui/parts";
import { ChangePassword } from "../views/change-password";
import { Header } from "../views/header";
import { SecondFactor } from "./second-factor";
import { Tokens } from "./tokens";

const EVERY_MS = 30_000;

/** One's own account: who one is here, how one signs in, and what programs may do in one's name. */
export function AccountPage(): VNode {
  const { broker, user: signedIn } = useSession();
  const people = useMemo(() => peopleAt(location.origin), []);
  // Whether there is a second factor may have changed since signing in.
  const { listed, message, again } = useListed((signal) => broker.whoAmI({}, { signal }), EVERY_MS);
  const [changing, setChanging] = useState(false);
  const user = listed ?? signedIn;
  useEffect(() => {
    document.title = "Account · Rolltop";
    return () => void (document.title = "Rolltop");
  }, []);
  return (
    <>
      <Header />
      <main class="home" data-testid="account-page">
        <h1>{user.fullName === "" ? user.name : user.fullName}</h1>
        {message !== "" && <ErrorNotice>{message} Trying again…</ErrorNotice>}
        <section class="card account-card" aria-label="Account">
          <Facts
            facts={[
              ["Name", user.name],
              ["Role", roleName(user.role)],
              ["Groups", user.groups.join(", ")],
              ["Signs in by", listed === undefined ? "…" : signInBy(user)],
            ]}
          />
          {isLocal(user) && (
            <button type="button" class="button" onClick={() => setChanging(true)}>
              Change password
            </button>
          )}
        </section>
        <section aria-labelledby="second-factor">
          <h2 id="second-factor">Second factor</h2>
          {listed !== undefined && <SecondFactor people={people} on={listed.secondFactor} onChanged={again} />}
        </section>
        <section aria-labelledby="tokens">
          <h2 id="tokens">Tokens for programs</h2>
          <Tokens people={people} />
        </section>
        <p>
          <a href={routeHref({ page: "home" })}>Back to my desktops</a>
        </p>
      </main>
      {changing && <ChangePassword onClose={() => setChanging(false)} />}
    </>
  );
}
