import type { VNode } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import type { BrokerClient, SignInWaysClient } from "./api/client";
import { problemOf } from "./api/errors";
import type { User } from "./gen/rolltop/v1/broker_pb";
import { DISPLAY_BACKOFF, delayMs, wait } from "./model/backoff";
import { type Route, parseRoute } from "./model/route";
import { mayLook } from "./model/people";
import { type Session, SessionContext, useSession } from "./session";
import { ErrorNotice } from "./ui/notice";
import { DesktopPage } from "./views/desktop";
import { AccountSide, OperatorSide } from "./views/fetched";
import { Home } from "./views/home";
import { ProgramPage } from "./views/program";
import { SignIn } from "./views/sign-in";
import { Welcome } from "./views/welcome";

type SignedIn =
  | { readonly kind: "asking"; readonly problem: string }
  | { readonly kind: "no"; readonly notice: string }
  | { readonly kind: "yes"; readonly user: User };

/** The whole page: who is here, and which view they see. */
export function App({ broker, ways }: { broker: BrokerClient; ways: SignInWaysClient }): VNode {
  const [signedIn, setSignedIn] = useState<SignedIn>({ kind: "asking", problem: "" });
  const route = useRoute();

  useEffect(() => {
    const stop = new AbortController();
    void whoAmI(broker, setSignedIn, stop.signal);
    return () => stop.abort();
  }, [broker]);

  const ended = useCallback((notice: string) => setSignedIn({ kind: "no", notice }), []);
  const user = signedIn.kind === "yes" ? signedIn.user : undefined;
  const session = useMemo<Session | undefined>(
    () => user && { broker, user, ended },
    [broker, user, ended],
  );

  if (signedIn.kind === "asking") {
    return <Welcome>{signedIn.problem !== "" && <ErrorNotice>{signedIn.problem}</ErrorNotice>}</Welcome>;
  }
  if (signedIn.kind === "no" || session === undefined) {
    const notice = signedIn.kind === "no" ? signedIn.notice : "";
    return (
      <SignIn
        broker={broker}
        ways={ways}
        route={route}
        notice={notice}
        onSignedIn={(user) => setSignedIn({ kind: "yes", user })}
      />
    );
  }
  return (
    <SessionContext.Provider value={session}>
      <View route={route} ways={ways} />
    </SessionContext.Provider>
  );
}

function View({ route, ways }: { route: Route; ways: SignInWaysClient }): VNode {
  const { user } = useSession();
  if (route.page === "desktop") return <DesktopPage key={route.pool} pool={route.pool} />;
  if (route.page === "account") return <AccountSide />;
  if (route.page === "program") return <ProgramPage ways={ways} {...route} />;
  if (route.page === "operator" && mayLook(user)) return <OperatorSide tab={route.tab} />;
  return <Home />;
}

/** Asks whether the cookie, if any, is good, until the server answers. */
async function whoAmI(
  broker: BrokerClient,
  tell: (signedIn: SignedIn) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      return tell({ kind: "yes", user: await broker.whoAmI({}, { signal }) });
    } catch (error) {
      const problem = problemOf(error);
      if (signal.aborted) return;
      if (problem.kind === "signed-out") return tell({ kind: "no", notice: "" });
      tell({ kind: "asking", problem: `${problem.message} Trying again…` });
    }
    await wait(delayMs(DISPLAY_BACKOFF, attempt, Math.random()), signal);
  }
}

function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const follow = (): void => setHash(location.hash);
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  return useMemo(() => parseRoute(hash), [hash]);
}
