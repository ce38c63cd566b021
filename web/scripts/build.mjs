// Bundles the portal into dist/: one page, its hashed script and style sheet,
// and the hashed logo; licenses.txt beside them. Everything is a file of its own, because the broker's
// Content-Security-Policy forbids inline scripts and styles.
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = `${root}dist`;

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });

const result = await build({
  absWorkingDir: root,
  entryPoints: {
    portal: "src/main.tsx",
    style: "src/styles/main.css",
    logo: "assets/logo.svg",
  },
  outdir: "dist/assets",
  bundle: true,
  format: "esm",
  // What only operators need is a script of its own.
  splitting: true,
  chunkNames: "[name]-[hash]",
  // noVNC uses top-level await.
  target: ["chrome109", "firefox115", "safari16"],
  minify: true,
  legalComments: "external",
  entryNames: "[name]-[hash]",
  loader: { ".svg": "copy" },
  jsx: "automatic",
  jsxImportSource: "preact",
  metafile: true,
  logLevel: "warning",
});

/** The path, seen from the page, of what became of an entry point. */
function built(name, suffix) {
  const found = Object.keys(result.metafile.outputs).find((path) => {
    const file = basename(path);
    return file.startsWith(`${name}-`) && file.endsWith(suffix);
  });
  if (found === undefined) throw new Error(`the bundler made no ${name}${suffix}`);
  return `/${relative("dist", found)}`;
}

/** The licences of the packages whose code went into the bundle. */
async function licenses(inputs) {
  const names = inputs.map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
  const texts = [...new Set(names)].filter(Boolean).sort().map(async (name) => {
    const folder = `${root}node_modules/${name}`;
    const about = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
    const source = about.repository?.url ?? about.repository ?? "";
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? "" : await readFile(`${folder}/${file}`, "utf8");
    return `${name} ${about.version}\nLicence: ${about.license}\nSource: ${source}\n\n${text}`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(72)}\n\n`);
}

const page = (await readFile(`${root}src/index.html`, "utf8"))
  .replaceAll("{{script}}", built("portal", ".js"))
  .replaceAll("{{style}}", built("style", ".css"))
  .replaceAll("{{logo}}", built("logo", ".svg"));
await writeFile(`${dist}/index.html`, page);

await writeFile(`${dist}/licenses.txt`, await licenses(Object.keys(result.metafile.inputs)));

for (const path of Object.keys(result.metafile.outputs)) {
  const bytes = await readFile(`${root}${path}`);
  const kib = (size) => `${(size / 1024).toFixed(1)} KiB`.padStart(11);
  console.log(`${kib(bytes.length)} ${kib(gzipSync(bytes).length)} gzipped  ${path}`);
}
