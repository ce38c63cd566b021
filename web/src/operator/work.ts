import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { DataResult, DataWork, WorkProgress } from "../gen/rolltop/v1/storage_pb";
import { useAct } from "./data";

/** Follows long work of a host. It goes on when nobody follows it any more. */
export function useWork() {
  const { busy, message, act, say } = useAct();
  const [progress, setProgress] = useState<WorkProgress>();
  const running = useRef<AbortController | undefined>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  const work = useCallback(
    async (begin: (signal: AbortSignal) => AsyncIterable<DataWork>): Promise<DataResult | undefined> => {
      const stop = new AbortController();
      running.current = stop;
      let result: DataResult | undefined;
      await act(async () => {
        try {
          for await (const { message } of begin(stop.signal)) {
            if (message.case === "progress") setProgress(message.value);
            else if (message.case === "result") result = message.value;
          }
        } catch (error) {
          if (!stop.signal.aborted) throw error;
        }
      });
      setProgress(undefined);
      return result;
    },
    [act],
  );
  return { busy, message, act, say, progress, work };
}
