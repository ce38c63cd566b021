import type { VNode } from "preact";

/** Somebody has ended the connection; the session goes on. */
export function SentAway({ message, onAgain }: { message: string; onAgain: () => void }): VNode {
  return (
    <div class="stage stage-over">
      <div class="card stage-card">
        <div role="alert">
          <h1>You were disconnected</h1>
          {message !== "" && <p data-testid="sent-away-message">{message}</p>}
        </div>
        <p>Your programs keep running.</p>
        <div class="actions">
          <button type="button" class="button button-primary" data-testid="connect-again" onClick={onAgain}>
            Connect again
          </button>
          <a class="button" href="#/" data-testid="go-home">
            Home
          </a>
        </div>
      </div>
    </div>
  );
}

/** Another viewer has the desktop now; one click brings it back here. */
export function TakenOver({ onUseHere }: { onUseHere: () => void }): VNode {
  return (
    <div class="stage stage-over">
      <div class="card stage-card">
        <div role="alert">
          <h1 data-testid="taken-over-message">This desktop was opened somewhere else</h1>
        </div>
        <p>Your programs keep running there. You can go on here instead at any time.</p>
        <div class="actions">
          <button type="button" class="button button-primary" data-testid="use-here" onClick={onUseHere}>
            Use it here
          </button>
          <a class="button" href="#/" data-testid="go-home">
            Home
          </a>
        </div>
      </div>
    </div>
  );
}
