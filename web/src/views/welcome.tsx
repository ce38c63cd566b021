import type { ComponentChildren, VNode } from "preact";
import { Logo } from "../ui/logo";

/** The front door: the name of the house and one card under it. */
export function Welcome({ children }: { children?: ComponentChildren }): VNode {
  return (
    <main class="welcome">
      <header class="welcome-brand">
        <Logo size="large" />
        <h1>Rolltop</h1>
        <p>Your desktop, from anywhere.</p>
      </header>
      {children}
    </main>
  );
}
