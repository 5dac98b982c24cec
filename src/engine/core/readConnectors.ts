/** The files of `connectors/`. */
import type { z } from "zod";
import type {
  ConfigurationFile,
  ConfigurationProblem,
  ConnectorConfiguration,
  ExtensionModules,
  KindLimits,
  Limit,
  Limits,
  SettingsSchema,
} from "./configuration.ts";
import { didYouMean, missing } from "./configurationProblems.ts";
import { connectorFile, keysOf } from "./configurationSchema.ts";
import { durationMs } from "./duration.ts";
import { closest } from "./expression/problems.ts";
import { disablingAttributes } from "./orphans.ts";
import { readExtension } from "./readExtension.ts";
import { conditionProblem } from "./scope.ts";
import { resolveSettings, type Settings } from "./settingReferences.ts";
import { YamlFile } from "./yamlFile.ts";

/** DESIGN section 11: only what takes access away is limited unless somebody says more. */
const defaultKindLimits: KindLimits = {
  add: { count: null, percent: null },
  update: { count: null, percent: null },
  rename: { count: null, percent: null },
  delete: { count: 500, percent: 10 },
  disable: { count: 500, percent: 10 },
};
export const defaultLimits: Limits = {
  export: defaultKindLimits,
  import: defaultKindLimits,
  shrinkPercent: 10,
  percentFrom: 20,
};

const connectorKeys = keysOf(connectorFile);

/** `declared`: the names of all connectors, those included that could not be read: nothing else is wrong with them. */
export function readConnectors(
  files: readonly ConfigurationFile[],
  settings: Settings,
  kinds: ReadonlyMap<string, SettingsSchema>,
  modules: ExtensionModules,
  problems: ConfigurationProblem[],
): { connectors: ReadonlyMap<string, ConnectorConfiguration>; declared: ReadonlySet<string> } {
  const connectors = new Map<string, ConnectorConfiguration>();
  const declared = new Set<string>();
  for (const source of files) {
    const file = new YamlFile(source);
    const name = (file.content as { name?: unknown } | null | undefined)?.name;
    if (typeof name === "string") {
      if (declared.has(name))
        file.report(["name"], `There is another connector "${name}".`, "Give it another name.");
      declared.add(name);
    }
    const connector = file.content === undefined ? undefined : readConnector(file, settings, kinds, modules);
    if (connector !== undefined) connectors.set(connector.name, connector);
    problems.push(...file.problems);
  }
  if (files.length === 0)
    problems.push(missing("config/connectors", "There is no connector.", "Add a file such as AADMA.yaml."));
  return { connectors, declared };
}

function readConnector(
  file: YamlFile,
  settings: Settings,
  kinds: ReadonlyMap<string, SettingsSchema>,
  modules: ExtensionModules,
): ConnectorConfiguration | undefined {
  const content = withoutFilter(file.content, (rest) => resolveSettings(rest, settings, file));
  if (file.problems.length > 0) return undefined;
  const parsed = file.parse(connectorFile, content, connectorKeys);
  if (parsed === undefined) return undefined;
  const kind = kinds.get(parsed.kind);
  if (kind === undefined) {
    file.report(
      ["kind"],
      `There is no kind of connector "${parsed.kind}".`,
      didYouMean(parsed.kind, kinds.keys()),
    );
    return undefined;
  }
  const checked = kind.safeParse(parsed.settings);
  if (!checked.success) {
    for (const issue of checked.error.issues) {
      const path = issue.path.filter((key) => typeof key !== "symbol");
      file.report(["settings", ...path], `${issue.message.replace(/\.$/, "")}.`, settingRemedy(file, path));
    }
    return undefined;
  }
  const { onAbsence, orphans, objectTypes, runProfiles, limits, filter, exportRetry, ...others } = parsed;
  const { extension: extensionFile, ...rest } = others;
  const extension =
    extensionFile === undefined ? undefined : readExtension(extensionFile, "connector", modules, file);
  if (rest.deprovision === "extension" && extensionFile === undefined)
    file.report(
      ["deprovision"],
      "The connector has no rules extension that could decide.",
      'Name one, as in "extension: guests.ts".',
    );
  else if (rest.deprovision === "extension" && extension !== undefined && !extension.entryPoints.deprovision)
    file.report(
      ["deprovision"],
      `"connector" in extensions/${extension.file} has no deprovision.`,
      "Add it, or write disconnect, explicitDisconnect or delete here.",
    );
  const canDisable = objectTypes.some((type) =>
    type.attributes.some((name) => disablingAttributes.includes(name)),
  );
  if (orphans !== undefined && !canDisable)
    file.report(
      ["orphans"],
      "No selected attribute says of an object that it is disabled.",
      `Select ${disablingAttributes.join(" or ")}, or take "orphans" out.`,
    );
  if (file.problems.length > 0) return undefined;
  checkFilter(file, filter as ConnectorConfiguration["filter"], objectTypes);
  return {
    ...rest,
    ...(extension !== undefined && { extension }),
    settings: checked.data,
    objectTypes,
    filter: filter as ConnectorConfiguration["filter"],
    retainMs: onAbsence === undefined ? null : durationMs(onAbsence.retain)!,
    ...(orphans !== undefined && {
      orphans: {
        disableAfterMs: durationMs(orphans.disableAfter)!,
        deleteAfterMs: orphans.deleteAfter === undefined ? null : durationMs(orphans.deleteAfter)!,
      },
    }),
    limits: withDefaults(limits),
    exportRetries: {
      delayMs: durationMs(exportRetry.delay)!,
      delayMaxMs: durationMs(exportRetry.delayMax)!,
      quarantineAfter: exportRetry.quarantineAfter,
    },
    secretAttributes: kind.secretAttributes ?? new Set(),
    runProfiles,
  };
}

/** A condition on an attribute that is not selected would never hold, and the filter let everything pass. */
function checkFilter(
  file: YamlFile,
  filter: ConnectorConfiguration["filter"],
  objectTypes: ConnectorConfiguration["objectTypes"],
): void {
  const selected = new Set(["dn", ...objectTypes.flatMap(({ attributes }) => attributes)]);
  filter.forEach((group, g) => {
    group.forEach((condition, c) => {
      const { attribute } = condition;
      if (!selected.has(attribute)) {
        const suggestion = closest(attribute, selected);
        const remedy =
          suggestion === undefined ? "Select it." : `Did you mean "${suggestion}"? Or select it.`;
        file.report(["filter", g, c, "attribute"], `"${attribute}" is not a selected attribute.`, remedy);
      }
      const problem = conditionProblem(condition, undefined);
      if (problem !== null) file.report(["filter", g, c, problem.at], problem.message, problem.remedy);
    });
  });
}

/** A filter's `%Name%` are parameters of rules, not app settings. */
function withoutFilter(content: unknown, resolve: (rest: unknown) => unknown): unknown {
  if (typeof content !== "object" || content === null || !("filter" in content)) return resolve(content);
  const { filter, ...rest } = content;
  return { ...(resolve(rest) as object), filter };
}

/** Where the operator has to look: at the app setting, when the value is one. */
function settingRemedy(file: YamlFile, path: readonly (string | number)[]): string {
  let value: unknown = (file.content as { settings?: unknown }).settings;
  for (const key of path) value = (value as Record<string | number, unknown> | undefined)?.[key];
  const name = typeof value === "string" ? /%([A-Za-z_]\w*)/.exec(value)?.[1] : undefined;
  return name === undefined ? "" : `Look at the app setting ${name}.`;
}

function withDefaults(limits: z.output<typeof connectorFile>["limits"]): Limits {
  const limit = (
    given: { count?: number | null | undefined; percent?: number | null | undefined } | undefined,
    standard: Limit,
  ): Limit => ({
    count: given?.count === undefined ? standard.count : given.count,
    percent: given?.percent === undefined ? standard.percent : given.percent,
  });
  const kinds = (side: "export" | "import"): KindLimits => {
    const [given, standard] = [limits?.[side], defaultLimits[side]];
    return {
      add: limit(given?.add, standard.add),
      update: limit(given?.update, standard.update),
      rename: limit(given?.rename, standard.rename),
      delete: limit(given?.delete, standard.delete),
      disable: limit(given?.disable, standard.disable),
    };
  };
  return {
    export: kinds("export"),
    import: kinds("import"),
    shrinkPercent: limits?.shrinkPercent ?? defaultLimits.shrinkPercent,
    percentFrom: limits?.percentFrom ?? defaultLimits.percentFrom,
  };
}
