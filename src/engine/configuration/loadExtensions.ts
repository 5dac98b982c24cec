/**
 * Loads rules extensions: modules in the folder `extensions` of the configuration, when the app starts and at once,
 * because the functions of an app are registered synchronously. `require` loads ES modules too, if nothing in them
 * awaits.
 *
 * A `.ts` file is loaded as it is where Node.js strips types (22.18 and later). The deployed app has the `.js` file
 * that `npm run build` has compiled in its place.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import type { ConfigurationFile, ExtensionModules, LoadedModule } from "../core/configuration.ts";
import { closest } from "../core/expression/problems.ts";

const require = createRequire(import.meta.url);

/** @param folder of the configuration */
export function extensionModules(folder: string): ExtensionModules {
  const extensions = resolve(folder, "extensions");
  const names = existsSync(extensions)
    ? readdirSync(extensions)
        .filter((name) => /\.[jt]s$/.test(name))
        .sort()
    : [];
  const texts = names.map((name): ConfigurationFile => {
    const file = `${basename(resolve(folder))}/extensions/${name}`;
    return { file, text: readFileSync(join(extensions, name), "utf8") };
  });
  return { load: (name) => load(name, extensions, names), texts };
}

function load(name: string, folder: string, names: readonly string[]): LoadedModule {
  const compiled = name.replace(/\.ts$/, ".js");
  const stripsTypes = Boolean((process.features as { typescript?: unknown }).typescript);
  const loadable = names.includes(name) && (stripsTypes || !name.endsWith(".ts")) ? name : compiled;
  if (!names.includes(loadable)) return missing(name, folder, names);
  try {
    return { ok: true, exports: { ...(require(join(folder, loadable)) as object) } };
  } catch (error) {
    const { code } = error as { code?: unknown };
    const known = remedies[String(code)];
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return {
      ok: false,
      message: known?.message(loadable) ?? `extensions/${loadable} cannot be loaded: ${firstLine(message)}`,
      remedy: known?.remedy ?? "Mend it; npm run typecheck tells more.",
    };
  }
}

function missing(name: string, folder: string, names: readonly string[]): LoadedModule {
  if (names.includes(name))
    return {
      ok: false,
      message: `extensions/${name} is TypeScript, which Node.js ${process.version} does not run.`,
      remedy:
        "Use Node.js 22.18 or later, or put the compiled file beside it: npm run build does for config/.",
    };
  const suggestion = closest(name, names);
  return {
    ok: false,
    message: `There is no file ${name} in ${folder}.`,
    remedy: suggestion === undefined ? "Add it there." : `Did you mean "${suggestion}"?`,
  };
}

const remedies: Readonly<Record<string, { message(file: string): string; readonly remedy: string }>> = {
  ERR_REQUIRE_ASYNC_MODULE: {
    message: (file) => `extensions/${file} awaits something while it is loaded.`,
    remedy: "Remove the await at the top level of the module: extensions work with what they are given.",
  },
  ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX: {
    message: (file) => `extensions/${file} uses TypeScript that must be compiled (an enum or a namespace).`,
    remedy: "Write constants and modules instead: only types may be TypeScript's own.",
  },
};

function firstLine(text: string): string {
  return text.split("\n", 1)[0]!;
}
