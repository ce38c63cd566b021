import type { VNode } from "preact";
import { useEffect } from "preact/hooks";
import { Logo } from "../ui/logo";

/** The session is over: why, and where to go from here. */
export function Ended({ message, onAgain }: { message: string; onAgain: () => void }): VNode {
  useEffect(() => {
    document.title = "Session ended · Rolltop";
  }, []);
  return (
    <main class="stage">
      <div class="card stage-card">
        <Logo size="large" />
        <div role="alert">
          <h1 data-testid="ended-message">{message}</h1>
        </div>
        <p class="hint">The desk is rolled shut.</p>
        <div class="actions">
          <button type="button" class="button button-primary" data-testid="start-again" onClick={onAgain}>
            Start again
          </button>
          <a class="button" href="#/" data-testid="go-home">
            Home
          </a>
        </div>
      </div>
    </main>
  );
}
