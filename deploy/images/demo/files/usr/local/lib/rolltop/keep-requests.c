/*
 * Loaded into jwm: keeps what it would lose while it starts.
 *
 * From the moment jwm is the window manager, other programs' windows are mapped
 * by it alone: the X server turns their wish into an event for jwm. At the end
 * of its start, and of each restart, which is its answer to a new size of the
 * screen, jwm discards all events at once (XSync with `discard`). A window whose
 * program asked a moment too early then never appears, and a size that came in
 * between leaves the panel where the screen ended before.
 *
 * So this XSync discards everything but those requests and that news. jwm takes
 * them up when its loop begins, as if they had come a moment later.
 *
 * Compiled when the image is built, without any headers: what is declared
 * here is the part of Xlib's and the C library's stable interface that is used.
 */
typedef struct Display Display;
typedef union {
    int type;
    struct { int type; unsigned long serial; int send_event; Display *display; unsigned long event, window; } configure;
    long size[24];
} XEvent;

enum { MAP_REQUEST = 20, CONFIGURE_NOTIFY = 22, CONFIGURE_REQUEST = 23 };
#define NEXT_LIBRARY ((void *)-1L)
enum { MOST = 256 };

extern unsigned long XDefaultRootWindow(Display *display);
extern int XCheckIfEvent(Display *display, XEvent *event, int (*matches)(Display *, XEvent *, char *), char *argument);
extern int XPutBackEvent(Display *display, XEvent *event);
extern void *dlsym(void *library, const char *name);
extern int unsetenv(const char *name);

static int must_be_kept(Display *display, XEvent *event, char *argument)
{
    switch (event->type) {
    case MAP_REQUEST:
    case CONFIGURE_REQUEST:
        return 1;
    case CONFIGURE_NOTIFY:
        return event->configure.window == XDefaultRootWindow(display);
    default:
        return 0;
    }
}

int XSync(Display *display, int discard)
{
    static int (*sync)(Display *, int);
    static XEvent kept[MOST];
    int count = 0;

    if (!sync) {
        sync = (int (*)(Display *, int))dlsym(NEXT_LIBRARY, "XSync");
        /* What jwm starts has nothing to do with this. */
        unsetenv("LD_PRELOAD");
    }
    sync(display, 0);
    if (!discard)
        return 1;
    while (count < MOST && XCheckIfEvent(display, &kept[count], must_be_kept, 0))
        count++;
    sync(display, 1);
    while (count > 0)
        XPutBackEvent(display, &kept[--count]);
    return 1;
}
