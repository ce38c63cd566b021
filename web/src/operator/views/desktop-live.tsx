import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { problemOf } from "../../api/errors";
import type { DesktopStats } from "../../gen/rolltop/v1/stats_pb";
import { formatBytes } from "../../model/format";
import { useCluster } from "../data";
import { appended, processorShare } from "../model/stats";
import { Facts } from "../../ui/parts";

/** What a desktop uses, every two seconds. */
export function LiveStats({ desktop }: { desktop: string }): VNode {
  const { clients } = useCluster();
  const [pair, setPair] = useState<{ before?: DesktopStats; now?: DesktopStats }>({});
  const [message, setMessage] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    const read = async (): Promise<void> => {
      for await (const stats of clients.stats.watchDesktopStats({ desktop }, { signal: stop.signal })) {
        setPair(({ now }) => ({ ...(now && { before: now }), now: stats }));
      }
    };
    read().catch((error: unknown) => {
      if (!stop.signal.aborted) setMessage(problemOf(error).message);
    });
    return () => stop.abort();
  }, [clients, desktop]);
  const { before, now } = pair;
  if (message !== "") return <p class="hint">{message}</p>;
  return (
    <div data-testid="desktop-stats" aria-busy={now === undefined}>
      <Facts
        facts={[
          ["Processor", processorShare(before, now)],
          ["Memory", size(now?.memoryBytes)],
          ["Memory, most so far", size(now?.memoryPeakBytes)],
          ["Processes", now?.pids === undefined ? "" : String(now.pids)],
          ["Disk in use", size(now?.diskUsedBytes)],
          ["Received", size(now?.networkReceivedBytes)],
          ["Sent", size(now?.networkSentBytes)],
          ["Killed for want of memory", now === undefined || now.oomKills === 0n ? "" : String(now.oomKills)],
        ]}
      />
    </div>
  );
}

function size(bytes: bigint | undefined): string {
  return bytes === undefined ? "" : formatBytes(bytes);
}

/** What a session writes, from its last lines on. */
export function LogTail({ desktop }: { desktop: string }): VNode {
  const { clients } = useCluster();
  const [text, setText] = useState("");
  const [message, setMessage] = useState("");
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    const stop = new AbortController();
    const decoder = new TextDecoder();
    const read = async (): Promise<void> => {
      const chunks = clients.stats.readDesktopLog({ desktop, lines: 200, follow: true }, { signal: stop.signal });
      for await (const { data } of chunks) {
        const fresh = decoder.decode(data, { stream: true });
        setText((before) => appended(before, fresh));
      }
    };
    read().catch((error: unknown) => {
      if (!stop.signal.aborted) setMessage(problemOf(error).message);
    });
    return () => stop.abort();
  }, [clients, desktop]);
  useEffect(() => box.current?.scrollTo({ top: box.current.scrollHeight }), [text]);
  return (
    <>
      <pre class="log" ref={box} tabIndex={0} aria-label={`Log of ${desktop}`} data-testid="desktop-log">
        {text === "" ? "Nothing has been written yet." : text}
      </pre>
      {message !== "" && <p class="hint">{message}</p>}
    </>
  );
}
