/** What the configuration names as a rules extension, checked: the module, its export, the entry points in it. */
import type { ExtensionModules } from "./configuration.ts";
import { closest } from "./expression/problems.ts";
import {
  type ConnectorExtension,
  connectorEntryPoints,
  type MetaverseExtension,
  metaverseEntryPoints,
  type NamedExtension,
} from "./extension.ts";
import type { Path, YamlFile } from "./yamlFile.ts";

export const noExtensions: ExtensionModules = {
  load: (file) => ({
    ok: false,
    message: `There is no extension "${file}".`,
    remedy: "Put it in the folder extensions of the configuration.",
  }),
  texts: [],
};

const exported = {
  connector: { type: "ConnectorExtension", entryPoints: connectorEntryPoints as readonly string[] },
  metaverse: { type: "MetaverseExtension", entryPoints: metaverseEntryPoints as readonly string[] },
};

interface Extensions {
  readonly connector: ConnectorExtension;
  readonly metaverse: MetaverseExtension;
}

/** Undefined when something is wrong with it; what, is reported at its place in the file. */
export function readExtension<Export extends keyof Extensions>(
  name: string,
  what: Export,
  modules: ExtensionModules,
  file: YamlFile,
  path: Path = ["extension"],
): NamedExtension<Extensions[Export]> | undefined {
  const loaded = modules.load(name);
  if (!loaded.ok) {
    file.report(path, loaded.message, loaded.remedy);
    return undefined;
  }
  const { type } = exported[what];
  const found = loaded.exports[what];
  if (found === undefined) {
    const names = Object.keys(loaded.exports);
    file.report(
      path,
      `extensions/${name} has no export "${what}"${names.length === 0 ? "" : `, only ${names.join(", ")}`}.`,
      `Write "export const ${what}: ${type} = { … };" in it.`,
    );
    return undefined;
  }
  const problems = entryPointProblems(name, what, found);
  for (const { message, remedy } of problems) file.report(path, message, remedy);
  return problems.length > 0 ? undefined : { file: name, entryPoints: found as Extensions[Export] };
}

function entryPointProblems(
  name: string,
  what: keyof Extensions,
  found: unknown,
): { readonly message: string; readonly remedy: string }[] {
  const { type, entryPoints } = exported[what];
  if (typeof found !== "object" || found === null)
    return [
      {
        message: `"${what}" in extensions/${name} is ${found === null ? "null" : `a ${typeof found}`}, not an object with entry points.`,
        remedy: `Write "export const ${what}: ${type} = { … };".`,
      },
    ];
  return Object.entries(found).flatMap(([key, value]: [string, unknown]) => {
    const where = `"${key}" of "${what}" in extensions/${name}`;
    if (!entryPoints.includes(key)) {
      const suggestion = closest(key, entryPoints);
      const remedy =
        suggestion === undefined ? `Known: ${entryPoints.join(", ")}.` : `Did you mean "${suggestion}"?`;
      return [{ message: `${where} is no entry point.`, remedy }];
    }
    if (value === undefined) return [];
    if (typeof value !== "function")
      return [{ message: `${where} is not a function.`, remedy: "Make it one, or remove it." }];
    if (value.constructor.name !== "AsyncFunction") return [];
    return [
      {
        message: `${where} is async.`,
        remedy: "Entry points decide at once, from what they are given. Remove async and await.",
      },
    ];
  });
}

export function entryPointsOf(
  extension: NamedExtension<object> | undefined,
): ReadonlySet<string> | undefined {
  if (extension === undefined) return undefined;
  return new Set(
    Object.entries(extension.entryPoints).flatMap(([name, value]) => (value === undefined ? [] : [name])),
  );
}
