import { createContext } from "preact";
import { useCallback, useContext, useEffect, useMemo, useState } from "preact/hooks";
import { useOwnAct } from "../act";
import { type OperatorClients, operatorClientsAt } from "../api/client";
import type { Problem } from "../api/errors";
import type { Desktop, Host } from "../gen/rolltop/v1/broker_pb";
import { DesktopState } from "../gen/rolltop/v1/common_pb";
import { mayOperate } from "../model/people";
import { endsSession, useSession } from "../session";
import { useNow } from "../ui/clock";
import { type Source, follow } from "./api/feed";
import { Loads } from "./model/load";
import { Starts } from "./model/start-times";

export type Rows<T> = ReadonlyMap<string, T>;

/** What all operators' pages look at, live; undefined until first known. */
export interface Cluster {
  readonly clients: OperatorClients;
  readonly hosts: Rows<Host> | undefined;
  readonly desktops: Rows<Desktop> | undefined;
  readonly starts: Starts;
  readonly loads: Loads;
  readonly trouble: Problem | undefined;
  /** Lists hosts again: after one was removed. */
  readonly hostsChanged: () => void;
}

export const ClusterContext = createContext<Cluster | undefined>(undefined);

export function useCluster(): Cluster {
  const cluster = useContext(ClusterContext);
  if (cluster === undefined) throw new Error("this is shown within the operators' pages only");
  return cluster;
}

const HOSTS_AGAIN_MS = 20_000;
const DESKTOPS_AGAIN_MS = 300_000;

/** Watches hosts and desktops for as long as the pages are open. */
export function useWatchedCluster(): Cluster {
  const { broker } = useSession();
  const clients = useMemo(() => operatorClientsAt(location.origin), []);
  const [starts] = useState(() => new Starts());
  const [loads] = useState(() => new Loads());
  const [turn, setTurn] = useState(0);
  const hosts = useFeed<Host>(
    useMemo(
      () => ({
        list: async (signal) => (await broker.listHosts({}, { signal })).hosts,
        watch: (signal) => clients.hosts.watchHosts({}, { signal }),
        key: ({ name }) => name,
        stays: () => true,
        againMs: HOSTS_AGAIN_MS,
      }),
      [broker, clients, turn],
    ),
  );
  const desktops = useFeed<Desktop>(
    useMemo(
      () => ({
        list: async (signal) => (await broker.listDesktops({ all: true }, { signal })).desktops,
        watch: (signal) => broker.watchDesktops({ all: true }, { signal }),
        key: ({ id }) => id,
        stays: ({ state }) => state !== DesktopState.GONE,
        againMs: DESKTOPS_AGAIN_MS,
      }),
      [broker],
    ),
  );
  useEffect(() => desktops.rows?.forEach((desktop) => starts.note(desktop)), [desktops.rows, starts]);
  // A host that does not change has a load all the same.
  const now = useNow(10_000);
  useEffect(() => {
    if (hosts.rows !== undefined) loads.note(hosts.rows, now);
  }, [hosts.rows, loads, now]);
  const hostsChanged = useCallback(() => setTurn((before) => before + 1), []);
  return {
    clients,
    hosts: hosts.rows,
    desktops: desktops.rows,
    starts,
    loads,
    trouble: hosts.trouble ?? desktops.trouble,
    hostsChanged,
  };
}

/** Follows a source for as long as whoever asks is shown. */
export function useFeed<T>(source: Source<T>): { rows: Rows<T> | undefined; trouble: Problem | undefined } {
  const session = useSession();
  const [rows, setRows] = useState<Rows<T>>();
  const [trouble, setTrouble] = useState<Problem>();
  useEffect(() => {
    const stop = new AbortController();
    const listener = {
      rows: (fresh: Rows<T>) => {
        setRows(fresh);
        setTrouble(undefined);
      },
      interrupted: (problem: Problem) => {
        if (!endsSession(session, problem)) setTrouble(problem);
      },
    };
    void follow(source, listener, stop.signal);
    return () => stop.abort();
  }, [session, source]);
  return { rows, trouble };
}

/** As `useOwnAct`; who only looks finds what changes things switched off. */
export function useAct() {
  const session = useSession();
  const own = useOwnAct();
  return { ...own, busy: own.busy || !mayOperate(session.user) };
}
