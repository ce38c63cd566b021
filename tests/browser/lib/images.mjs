import { link, mkdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * Puts an image beside `demo` in the store: the same root, another session.
 * Takes a moment instead of the minute that building one takes.
 */
export async function addImage(store, name, sessionCommand) {
  const target = await readlink(join(store, "demo/tags/stable"));
  const version = target.split("/").at(-1);
  const from = join(store, "demo/versions", version);
  const to = join(store, name, "versions", version);
  await mkdir(to, { recursive: true });
  await link(join(from, "root.erofs"), join(to, "root.erofs"));
  const manifest = await readFile(join(from, "manifest.toml"), "utf8");
  await writeFile(
    join(to, "manifest.toml"),
    manifest
      .replace('name = "demo"', `name = "${name}"`)
      .replace(/^command = .*$/m, `command = ${JSON.stringify(sessionCommand)}`),
  );
  await mkdir(join(store, name, "tags"));
  await symlink(target, join(store, name, "tags/stable"));
}

export async function removeImage(store, name) {
  await rm(join(store, name), { recursive: true, force: true });
}
