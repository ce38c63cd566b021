import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { actMessage, problemOf } from "./api/errors";
import { wait } from "./model/backoff";
import { endsSession, useSession } from "./session";

/** Runs one act at a time and keeps what to say of it. */
export function useOwnAct() {
  const session = useSession();
  const [busy, setBusy] = useState(false);
  const [message, setMessage] = useState("");
  const act = useCallback(
    async (work: () => Promise<unknown>): Promise<boolean> => {
      setBusy(true);
      setMessage("");
      try {
        await work();
        return true;
      } catch (error) {
        const problem = problemOf(error);
        const said = actMessage(problem);
        if (said !== "") setMessage(said);
        else endsSession(session, problem);
        return false;
      } finally {
        setBusy(false);
      }
    },
    [session],
  );
  return { busy, message, act, say: setMessage };
}

/**
 * What is listed but not watched: asked for again `everyMs` after an answer, and
 * at once by `again`. A slow answer is waited for.
 */
export function useListed<T>(ask: (signal: AbortSignal) => Promise<T>, everyMs: number) {
  const session = useSession();
  const [listed, setListed] = useState<T>();
  const [message, setMessage] = useState("");
  const [turn, setTurn] = useState(0);
  const again = useCallback(() => setTurn((before) => before + 1), []);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    const stop = new AbortController();
    const { signal } = stop;
    const keepAsking = async (): Promise<void> => {
      while (!signal.aborted) {
        try {
          const fresh = await latest.current(signal);
          if (signal.aborted) return;
          setListed(fresh);
          setMessage("");
        } catch (error) {
          const problem = problemOf(error);
          if (signal.aborted || endsSession(session, problem)) return;
          setMessage(problem.message);
        }
        await wait(everyMs, signal);
      }
    };
    void keepAsking();
    return () => stop.abort();
  }, [session, turn, everyMs]);
  return { listed, message, again };
}
