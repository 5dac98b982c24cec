/**
 * App settings in the configuration: `%NAME%` must be set, `%NAME|default%` need not be. What resolves to nothing
 * (`%NAME|%`) is left out, as if the line were not there.
 */
import type { Path, YamlFile } from "./yamlFile.ts";

export type Settings = Readonly<Record<string, string | undefined>>;

const reference = /%([A-Za-z_][A-Za-z0-9_]*)(?:\|([^%]*))?%/g;

/** The value with its settings; problems are reported at the place of the reference. Never shows a setting's value. */
export function resolveSettings(
  value: unknown,
  settings: Settings,
  file: YamlFile,
  path: Path = [],
): unknown {
  if (typeof value === "string") return resolveText(value, settings, file, path);
  if (Array.isArray(value))
    return value
      .map((item, index) => resolveSettings(item, settings, file, [...path, index]))
      .filter((item) => item !== undefined);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, item]) => [key, resolveSettings(item, settings, file, [...path, key])])
      .filter(([, item]) => item !== undefined),
  );
}

/** The settings that must be set, and are not. */
export function unsetSettings(value: unknown, settings: Settings): readonly string[] {
  if (typeof value === "string")
    return [...value.matchAll(reference)].flatMap(([, name, fallback]) =>
      fallback === undefined && !settings[name!] ? [name!] : [],
    );
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap((item) => unsetSettings(item, settings));
}

function resolveText(text: string, settings: Settings, file: YamlFile, path: Path): string | undefined {
  if (!text.includes("%")) return text;
  const report = (setting: string, message: string, remedy: string) =>
    file.problems.push({ ...file.problem(path, message, remedy), setting });
  const resolved = text.replace(reference, (_whole, name: string, fallback: string | undefined) => {
    const value = settings[name];
    if (value?.trimStart().startsWith("@Microsoft.KeyVault(")) {
      report(
        name,
        `The Key Vault reference in the setting ${name} is not resolved.`,
        "Give the app's managed identity the role Key Vault Secrets User on the vault, and check the secret's name.",
      );
      return "";
    }
    if (value !== undefined && value !== "") return value;
    if (fallback !== undefined) return fallback;
    report(
      name,
      `The setting ${name} is not set.`,
      `Set ${name} in the app settings (or local.settings.json).`,
    );
    return name;
  });
  return resolved === "" ? undefined : resolved;
}
