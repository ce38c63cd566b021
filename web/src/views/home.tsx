import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Problem } from "../api/errors";
import { type Listener, watchDesktops } from "../api/watch";
import type { Pool } from "../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../gen/rolltop/v1/common_pb";
import { type Desktops, shown, updated } from "../model/desktops";
import { endsSession, useSession } from "../session";
import { useNow } from "../ui/clock";
import { ErrorNotice } from "../ui/notice";
import { DesktopCard } from "./desktop-card";
import { Header } from "./header";
import { PoolCard } from "./pool-card";

/** What a person has, and what they may open. */
export function Home(): VNode {
  const { user } = useSession();
  const { desktops, pools, trouble } = useOverview();
  const now = useNow(30_000);
  useEffect(() => {
    document.title = "Rolltop";
  }, []);

  const inPool = new Map([...(desktops?.values() ?? [])].map((desktop) => [desktop.pool, desktop]));
  return (
    <>
      <Header />
      <main class="home">
        <h1>Hello, {user.fullName === "" ? user.name : user.fullName}</h1>
        {trouble !== undefined && <ErrorNotice>{trouble.message} Trying again…</ErrorNotice>}
        {desktops !== undefined && desktops.size > 0 && (
          <section aria-labelledby="mine">
            <h2 id="mine">My desktops</h2>
            <ul class="desktops">
              {[...desktops.values()].map((desktop) => (
                <DesktopCard key={desktop.id} desktop={desktop} now={now} />
              ))}
            </ul>
            <p class="hint">They keep running when you close this page or switch to another computer.</p>
          </section>
        )}
        <section aria-labelledby="open" aria-busy={pools === undefined}>
          <h2 id="open">Pools open to me</h2>
          {pools?.length === 0 && (
            <p class="empty">No pool is open to you yet. Ask whoever runs this service to let you in.</p>
          )}
          <ul class="pools">
            {pools?.map((pool) => {
              const state = inPool.get(pool.name)?.state;
              const has = state !== undefined && state !== DesktopState.FAILED;
              return <PoolCard key={pool.name} pool={pool} running={has} />;
            })}
          </ul>
        </section>
      </main>
    </>
  );
}

/** What is known of the caller's pools and desktops, as it changes; undefined until first known. */
function useOverview() {
  const session = useSession();
  const [desktops, setDesktops] = useState<Desktops>();
  const [pools, setPools] = useState<readonly Pool[]>();
  const [trouble, setTrouble] = useState<Problem>();
  // Pools are not watched: they are listed again when the page is looked at again.
  const looks = useLooks();
  useEffect(() => {
    const stop = new AbortController();
    const listener: Listener = {
      all: (allDesktops, allPools) => {
        setDesktops(shown(allDesktops));
        setPools(allPools);
        setTrouble(undefined);
      },
      changed: (desktop) => setDesktops((before) => updated(before ?? new Map(), desktop)),
      interrupted: (problem) => {
        if (!endsSession(session, problem)) setTrouble(problem);
      },
    };
    void watchDesktops(session.broker, listener, stop.signal);
    return () => stop.abort();
  }, [session, looks]);
  return { desktops, pools, trouble };
}

/** How often the person has come back to this page. */
function useLooks(): number {
  const [looks, setLooks] = useState(0);
  useEffect(() => {
    const count = (): void => {
      if (!document.hidden) setLooks((before) => before + 1);
    };
    document.addEventListener("visibilitychange", count);
    return () => document.removeEventListener("visibilitychange", count);
  }, []);
  return looks;
}
