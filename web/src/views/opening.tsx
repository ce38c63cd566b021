import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Opened, openDesktop } from "../api/open";
import type { Desktop } from "../gen/rolltop/v1/broker_pb";
import type { Progress } from "../gen/rolltop/v1/common_pb";
import { sentence } from "../model/format";
import { type Steps, advance, fail, share } from "../model/phases";
import { firstScreenSize } from "../model/screen-size";
import { endsSession, useSession } from "../session";
import { ErrorNotice } from "../ui/notice";
import { OpeningBar, PhaseList, StageCard } from "./opening-card";

interface OpeningProps {
  pool: string;
  /** The desktop runs; the steps are those of a new one, none for one that ran already. */
  onReady: (desktop: Desktop, steps: Steps) => void;
}

type Trouble = Exclude<Opened, { kind: "desktop" }>;

/** Opens a desktop and shows each step of it; or why it could not be opened. */
export function Opening({ pool, onReady }: OpeningProps): VNode {
  const session = useSession();
  const [attempt, setAttempt] = useState(0);
  const [steps, setSteps] = useState<Steps>(new Map());
  const [trouble, setTrouble] = useState<Trouble>();

  useEffect(() => {
    document.title = "Opening… · Rolltop";
    setSteps(new Map());
    setTrouble(undefined);
    const stop = new AbortController();
    const open = async (): Promise<void> => {
      const size = firstScreenSize({ width: window.innerWidth, height: window.innerHeight });
      let seen: Steps = new Map();
      const onProgress = (progress: Progress): void => {
        seen = advance(seen, progress);
        setSteps(seen);
      };
      const opened = await openDesktop(session.broker, pool, size, onProgress, stop.signal);
      if (stop.signal.aborted) return;
      if (opened.kind === "desktop") return onReady(opened.desktop, seen);
      if (opened.kind === "problem" && endsSession(session, opened.problem)) return;
      if (opened.kind === "failed") setSteps(fail(seen, opened.failure.phase));
      setTrouble(opened);
    };
    void open();
    return () => stop.abort();
  }, [session, pool, attempt, onReady]);

  return (
    <main class="stage">
      <StageCard title={trouble === undefined ? "Opening your desktop" : "Your desktop did not open"}>
        {trouble === undefined ? <OpeningBar steps={steps} /> : <TroubleNotice trouble={trouble} />}
        {(trouble === undefined || share(steps) > 0) && <PhaseList steps={steps} />}
        <div class="actions">
          {trouble !== undefined && (
            <button
              type="button"
              class="button button-primary"
              data-testid="try-again"
              onClick={() => setAttempt((before) => before + 1)}
            >
              Try again
            </button>
          )}
          <a class="button" href="#/" data-testid="go-home">
            Home
          </a>
        </div>
      </StageCard>
    </main>
  );
}

/** The reason, and what the session itself said last. */
function TroubleNotice({ trouble }: { trouble: Trouble }): VNode {
  if (trouble.kind === "problem") return <ErrorNotice>{trouble.problem.message}</ErrorNotice>;
  const { reason, outputTail } = trouble.failure;
  return (
    <>
      <ErrorNotice>{sentence(reason) || "It did not say why."}</ErrorNotice>
      {outputTail.length > 0 && (
        <figure class="output">
          <figcaption>The last lines the session wrote</figcaption>
          <pre tabIndex={0} data-testid="failure-output">
            {outputTail.join("\n")}
          </pre>
        </figure>
      )}
    </>
  );
}
