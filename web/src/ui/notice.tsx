import type { ComponentChildren, VNode } from "preact";
import { Icon } from "./icons";

/** Something went wrong, said where it matters and to screen readers at once. */
export function ErrorNotice({ children }: { children: ComponentChildren }): VNode {
  return (
    <div class="notice notice-bad" role="alert" data-testid="error-message">
      <Icon name="warning" />
      <div>{children}</div>
    </div>
  );
}
