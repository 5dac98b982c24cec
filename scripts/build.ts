/**
 * `npm run build -- [--quiet] [--package] [--out DIR]`: compiles src/ and puts together what is deployed.
 *
 *   dist/src/   the compiled modules. `main` in package.json points at its functions, so the repository itself is a
 *               function app: the local host and `func start` run it from here.
 *   dist/app/   the deployable app (in DIR, which must be new or empty): host.json, package.json with the production
 *               dependencies and the same `main`, the lock file, a bill of materials of it (CycloneDX), config/ with its extensions compiled (so that they run
 *               on every version of Node.js that Azure offers), and those very modules, byte for byte. Deployed with a
 *               remote build, or complete with node_modules after `--package`, which copies the installed packages.
 */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { billOfMaterials, type LockFile } from "./sbom.ts";

const root = join(import.meta.dirname, "..");

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly main: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly [other: string]: unknown;
}

const { values: options } = parseArgs({
  options: {
    quiet: { type: "boolean", default: false },
    package: { type: "boolean", default: false },
    out: { type: "string" },
  },
});
const appFolder = resolve(options.out ?? join(root, "dist/app"));
if (options.out !== undefined && existsSync(appFolder) && readdirSync(appFolder).length > 0) {
  console.error(`--out: ${appFolder} is not empty.`);
  process.exit(2);
}

compile();
removeOrphans();
const manifest = assemble();
if (options.package) addProductionPackages();
if (!options.quiet) {
  const complete = options.package
    ? "with its packages"
    : "without packages: npm ci --omit=dev, or --package";
  console.log(
    `Compiled to dist/src. Deployable app (${manifest.main}) in ${relative(process.cwd(), appFolder)}, ${complete}.`,
  );
}

function compile(): void {
  const compiler = join(
    dirname(createRequire(import.meta.url).resolve("typescript/package.json")),
    "bin/tsc",
  );
  const result = spawnSync(process.execPath, [compiler, "-p", join(root, "tsconfig.build.json")], {
    stdio: "inherit",
  });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/** A module whose source is gone would still be found by `main`, and its functions would still run. */
function removeOrphans(): void {
  for (const file of globSync("{src,config}/**/*.js", { cwd: join(root, "dist") })) {
    if (existsSync(join(root, file.replace(/\.js$/, ".ts")))) continue;
    for (const orphan of [file, `${file}.map`]) rmSync(join(root, "dist", orphan), { force: true });
    // The compiler's record says that the file is up to date; without the record it writes all of them again.
    rmSync(join(root, "dist/.tsbuildinfo"), { force: true });
  }
}

function assemble(): Manifest {
  mkdirSync(appFolder, { recursive: true });
  for (const entry of readdirSync(appFolder)) {
    // Copying the packages takes long; `--package` renews them.
    if (entry !== "node_modules" || options.package) rmSync(join(appFolder, entry), { recursive: true });
  }
  for (const entry of ["host.json", "LICENSE", "config"]) {
    cpSync(join(root, entry), join(appFolder, entry), { recursive: true });
  }
  cpSync(join(root, "dist/src"), join(appFolder, "dist/src"), { recursive: true, filter: isNoMap });
  placeExtensions();
  const {
    scripts: _scripts,
    devDependencies: _dev,
    allowScripts: _allow,
    ...manifest
  } = readJson(join(root, "package.json")) as Manifest;
  writeJson(join(appFolder, "package.json"), manifest);
  const lock = productionLock();
  writeJson(join(appFolder, "package-lock.json"), lock);
  const { name, version } = manifest as Manifest;
  writeJson(join(appFolder, "sbom.cdx.json"), billOfMaterials({ name, version }, lock));
  return manifest as Manifest;
}

/** The compiled files alone: two files of one extension could differ. */
function placeExtensions(): void {
  const extensions = join(appFolder, "config/extensions");
  for (const file of globSync("**/*.ts", { cwd: extensions })) rmSync(join(extensions, file));
  const compiled = join(root, "dist/config/extensions");
  if (existsSync(compiled)) cpSync(compiled, extensions, { recursive: true, filter: isNoMap });
}

function isNoMap(file: string): boolean {
  return !file.endsWith(".map");
}

function productionLock(): LockFile {
  const lock = readJson(join(root, "package-lock.json")) as LockFile;
  const packages = Object.entries(lock.packages).filter(([, { dev }]) => dev !== true);
  return {
    ...lock,
    packages: Object.fromEntries(
      packages.map(([folder, { devDependencies: _dev, ...rest }]) => [folder, rest]),
    ),
  };
}

/** Copies what is installed, so that the app has exactly the versions that were tested, and no network is needed. */
function addProductionPackages(): void {
  for (const folder of Object.keys(productionLock().packages)) {
    const installed = join(root, folder);
    // An optional package for another platform is locked, but not installed.
    if (folder === "" || !existsSync(installed)) continue;
    cpSync(installed, join(appFolder, folder), {
      recursive: true,
      // Nested packages have entries of their own: some of them may not be needed.
      filter: (file) => !file.startsWith(join(installed, "node_modules")),
    });
  }
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(file, "utf8"));
}

function writeJson(file: string, value: unknown): void {
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}
