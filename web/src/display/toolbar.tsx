import type { VNode } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../ui/icons";
import { Popover } from "../ui/popover";
import type { ClipboardSync } from "./clipboard";
import { ClipboardPanel } from "./clipboard-panel";
import { canFullscreen, onFullscreenChange, toggleFullscreen } from "./fullscreen";
import { releaseModifiers } from "./keys";
import { KeysPanel } from "./keys-panel";
import { LeavePanel } from "./leave-panel";
import { TouchKeyboard } from "./touch-keyboard";
import type { Viewer } from "./viewer";

interface ToolbarProps {
  viewer: Viewer;
  clipboard: ClipboardSync;
  desktop: string;
  title: string;
  persistent: boolean;
  /** What was last copied in the desktop. */
  remoteText: string;
}

type Panel = "clipboard" | "keys" | "leave";

/** How long the bar stays when nobody touches it, in milliseconds. */
const LINGER_MS = 2_500;

/**
 * The bar at the top edge. It rolls up by itself and leaves a handle; the
 * pointer at the edge, a tap on the handle, or Ctrl+Alt+Shift brings it back.
 */
export function Toolbar(props: ToolbarProps): VNode {
  const { viewer, clipboard, desktop, title, persistent, remoteText } = props;
  const root = useRef<HTMLDivElement>(null);
  const [panel, setPanel] = useState<Panel>();
  const { shown, show, hold, letGo } = useLinger(panel !== undefined);
  const full = useFullscreen();

  const toggle = useCallback(
    (which: Panel) => (open: boolean) => {
      setPanel(open ? which : undefined);
      if (open) viewer.blur();
      else viewer.focus();
    },
    [viewer],
  );

  useEffect(() => {
    // The desktop eats every key, Tab too: this is the way out without a mouse.
    const summon = (event: KeyboardEvent): void => {
      const modifier = ["Control", "Alt", "Shift"].includes(event.key);
      if (!(modifier && event.ctrlKey && event.altKey && event.shiftKey)) return;
      event.stopPropagation();
      releaseModifiers(viewer);
      viewer.blur();
      show();
      root.current?.querySelector("button")?.focus();
    };
    window.addEventListener("keydown", summon, true);
    return () => window.removeEventListener("keydown", summon, true);
  }, [viewer, show]);

  return (
    <div
      ref={root}
      class={`toolbar ${shown ? "toolbar-shown" : ""}`}
      onPointerEnter={hold}
      onPointerLeave={letGo}
      onFocusIn={hold}
      onFocusOut={letGo}
      onKeyDown={(event) => {
        if (event.key === "Escape" && panel === undefined) viewer.focus();
      }}
    >
      <div class="toolbar-bar" role="toolbar" aria-label="Desktop">
        <Popover
          label="Leave or log out"
          icon="power"
          testId="toolbar-leave"
          align="start"
          open={panel === "leave"}
          onToggle={toggle("leave")}
        >
          <LeavePanel desktop={desktop} title={title} persistent={persistent} />
        </Popover>
        <span class="toolbar-title">{title}</span>
        <Popover
          label="Clipboard"
          icon="clipboard"
          testId="toolbar-clipboard"
          open={panel === "clipboard"}
          onToggle={toggle("clipboard")}
        >
          <ClipboardPanel clipboard={clipboard} remoteText={remoteText} />
        </Popover>
        <Popover
          label="Special keys"
          icon="keys"
          testId="toolbar-keys"
          open={panel === "keys"}
          onToggle={toggle("keys")}
        >
          <KeysPanel viewer={viewer} onDone={() => toggle("keys")(false)} />
        </Popover>
        <TouchKeyboard viewer={viewer} />
        {canFullscreen && (
          <button
            type="button"
            class="button button-quiet"
            title={full ? "Leave full screen" : "Full screen"}
            aria-label={full ? "Leave full screen" : "Full screen"}
            data-testid="toolbar-fullscreen"
            onClick={() => void toggleFullscreen().then(() => viewer.focus())}
          >
            <Icon name={full ? "window" : "fullscreen"} />
          </button>
        )}
      </div>
      <button
        type="button"
        class="toolbar-handle"
        aria-label="Show the toolbar"
        aria-expanded={shown}
        tabIndex={shown ? -1 : 0}
        onClick={show}
      >
        <span />
      </button>
    </div>
  );
}

/** Whether the bar is out: at first, while held or pinned, and for a while after. */
function useLinger(pinned: boolean) {
  const [held, setHeld] = useState(false);
  const [lingering, setLingering] = useState(true);
  // Each call starts the wait anew.
  const [shownAt, setShownAt] = useState(0);
  const show = useCallback(() => {
    setLingering(true);
    setShownAt((before) => before + 1);
  }, []);
  const hold = useCallback(() => setHeld(true), []);
  const letGo = useCallback(() => {
    setHeld(false);
    show();
  }, [show]);
  useEffect(() => {
    if (held || pinned || !lingering) return undefined;
    const timer = setTimeout(() => setLingering(false), LINGER_MS);
    return () => clearTimeout(timer);
  }, [held, pinned, lingering, shownAt]);
  return { shown: held || pinned || lingering, show, hold, letGo };
}

function useFullscreen(): boolean {
  const [full, setFull] = useState(document.fullscreenElement !== null);
  useEffect(() => onFullscreenChange(setFull), []);
  return full;
}
