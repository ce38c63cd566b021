import type { ComponentChildren, VNode } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Icon, type IconName } from "./icons";

interface PopoverProps {
  label: string;
  icon: IconName;
  testId: string;
  open: boolean;
  onToggle: (open: boolean) => void;
  /** Shown beside the icon where there is room. */
  text?: string;
  align?: "start" | "end";
  children: ComponentChildren;
}

/** A button and the panel it opens. Escape or a click elsewhere closes it. */
export function Popover(props: PopoverProps): VNode {
  const { label, icon, testId, open, onToggle, text, align = "end", children } = props;
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const panelId = useId();
  useEffect(() => {
    if (!open) return undefined;
    const outside = (event: Event): void => {
      if (!(event.target instanceof Node && root.current?.contains(event.target))) onToggle(false);
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key !== "Escape") return;
      onToggle(false);
      button.current?.focus();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("keydown", escape);
    };
  }, [open, onToggle]);
  return (
    <div class="popover" ref={root}>
      <button
        ref={button}
        type="button"
        class="button button-quiet"
        title={label}
        aria-label={label}
        aria-expanded={open}
        aria-controls={panelId}
        data-testid={testId}
        onClick={() => onToggle(!open)}
      >
        <Icon name={icon} />
        {text !== undefined && <span class="popover-text">{text}</span>}
      </button>
      <div id={panelId} class={`panel panel-${align}`} hidden={!open}>
        {open && children}
      </div>
    </div>
  );
}
