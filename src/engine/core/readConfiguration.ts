/**
 * Texts and settings → the configuration, or all that is wrong with it. Nothing here needs the network; what only a
 * directory's schema can tell is in `checkAgainstSchemas`.
 */
import type { z } from "zod";
import type { ObjectTypeSchema } from "../ports/connector.ts";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
  type ConfigurationProblem,
  type ConnectorConfiguration,
  type Cycle,
  type DeletionRule,
  type ExtensionModules,
  type KindLimits,
  type Limit,
  type Limits,
  type MetaverseAttribute,
  type MetaverseSchema,
  type SettingsSchema,
} from "./configuration.ts";
import { connectorFile, cycleFile, keysOf, metaverseFile, ruleFile } from "./configurationSchema.ts";
import { durationMs } from "./duration.ts";
import { closest } from "./expression/problems.ts";
import type { MetaverseExtension, NamedExtension } from "./extension.ts";
import { disablingAttributes } from "./orphans.ts";
import { entryPointsOf, noExtensions, readExtension } from "./readExtension.ts";
import { rulesConnectorKind } from "./ruleDocuments.ts";
import {
  type AttributeInfo,
  compileRules,
  expressionProblems,
  type Flow,
  type RuleContext,
  type RuleProblem,
  type RuleSet,
  type SyncRule,
} from "./rules.ts";
import { ruleSetHash, rulesVersionOf, shortHash } from "./ruleVersions.ts";
import { conditionProblem } from "./scope.ts";
import { resolveSettings, type Settings } from "./settingReferences.ts";
import { attributesToJson, type Value } from "./values.ts";
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

/** A configuration whose rules are not checked yet. */
export type Deployment = Omit<Configuration, "rules" | "rulesVersion" | "warnings">;

/**
 * All but the rules: connectors, cycles and the metaverse, and the texts of the rules.
 * @param files those of `connectors/`, `rules/`, `cycles/` and `metaverse.yaml`; the folder in a path says what it is
 * @param settings the app settings
 * @param kinds the schema of the settings of each kind of connector
 * @param schemaOf the schema of a directory where it is known; the rules are checked against it
 * @param modules the rules extensions that the files may name
 * @throws ConfigurationError with every problem that was found
 */
export function readDeployment(
  files: readonly ConfigurationFile[],
  settings: Settings,
  kinds: ReadonlyMap<string, SettingsSchema>,
  schemaOf: (connector: ConnectorConfiguration) => readonly ObjectTypeSchema[] | undefined = () => undefined,
  modules: ExtensionModules = noExtensions,
): Deployment {
  const problems: ConfigurationProblem[] = [];
  const ofFolder = (folder: string) => files.filter(({ file }) => file.split("/").at(-2) === folder);
  const { connectors, declared } = readConnectors(ofFolder("connectors"), settings, kinds, modules, problems);
  const { metaverse, parameters, metaverseExtension } = readMetaverse(
    files,
    settings,
    declared,
    modules,
    problems,
  );
  const cycles = readCycles(ofFolder("cycles"), connectors, declared, problems);
  const ruleTexts = [...ofFolder("rules")].sort((a, b) => (a.file < b.file ? -1 : 1));
  // With connectors or metaverse unread, every name in a rule would look wrong.
  if (problems.length > 0) {
    for (const { file, rule } of readRules(ruleTexts, problems))
      problems.push(...expressionProblems(rule).map((problem) => placed(file, problem)));
    throw new ConfigurationError(oncePerSetting(problems));
  }
  const schemas = new Map(
    [...connectors].flatMap(([name, connector]) => {
      const schema = schemaOf(connector);
      return schema === undefined ? [] : [[name, schema] as const];
    }),
  );
  return {
    connectors,
    metaverse,
    ...(metaverseExtension !== undefined && { metaverseExtension }),
    parameters,
    cycles,
    schemas,
    ruleTexts,
    extensionTexts: modules.texts,
  };
}

/** As `readDeployment`, with the rules of the files. @throws ConfigurationError with every problem that was found */
export function readConfiguration(...parameters: Parameters<typeof readDeployment>): Configuration {
  const deployment = readDeployment(...parameters);
  return compileRuleTexts(deployment.ruleTexts, deployment);
}

/** The configuration with this set of rules: that of the files, or one that is stored. @throws ConfigurationError */
export function compileRuleTexts(texts: readonly ConfigurationFile[], deployment: Deployment): Configuration {
  return { ...deployment, ...compiledRules(texts, deployment, deployment.extensionTexts) };
}

/** The rules of the texts, read but not checked against anything else. @throws ConfigurationError */
export function readRuleTexts(texts: readonly ConfigurationFile[]): readonly SyncRule[] {
  const problems: ConfigurationProblem[] = [];
  const rules = readRules(texts, problems).map(({ rule }) => rule);
  if (problems.length > 0) throw new ConfigurationError(problems);
  return rules;
}

/** What the directories' schemas show to be wrong: attributes that do not exist, types that do not fit. */
export function checkAgainstSchemas(configuration: Configuration): readonly ConfigurationProblem[] {
  try {
    compiledRules(configuration.ruleTexts, configuration, configuration.extensionTexts);
    return [];
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
}

/** A setting that several places refer to is told at the first of them. */
function oncePerSetting(problems: readonly ConfigurationProblem[]): readonly ConfigurationProblem[] {
  const isFirst = ({ setting }: ConfigurationProblem, index: number) =>
    setting === undefined || problems.findIndex((other) => other.setting === setting) === index;
  return problems.filter(isFirst);
}

// ---- connectors ------------------------------------------------------------------------------------------------

const connectorKeys = keysOf(connectorFile);

/** `declared`: the names of all connectors, those included that could not be read: nothing else is wrong with them. */
function readConnectors(
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

// ---- metaverse and cycles ----------------------------------------------------------------------------------------

const metaverseKeys = keysOf(metaverseFile);

function readMetaverse(
  files: readonly ConfigurationFile[],
  settings: Settings,
  declared: ReadonlySet<string>,
  modules: ExtensionModules,
  problems: ConfigurationProblem[],
): {
  metaverse: MetaverseSchema;
  parameters: ReadonlyMap<string, Value>;
  metaverseExtension: NamedExtension<MetaverseExtension> | undefined;
} {
  const metaverse = new Map<
    string,
    { name: string; attributes: Map<string, MetaverseAttribute>; deletionRule: DeletionRule }
  >();
  const parameters = new Map<string, Value>();
  const source = files.find(({ file }) => file.split("/").at(-1) === "metaverse.yaml");
  if (source === undefined) {
    problems.push(
      missing(
        "config/metaverse.yaml",
        "The file is missing.",
        "Describe the metaverse's object types in it.",
      ),
    );
    return { metaverse, parameters, metaverseExtension: undefined };
  }
  const file = new YamlFile(source);
  const resolved = file.content === undefined ? undefined : resolveSettings(file.content, settings, file);
  const parsed = file.problems.length > 0 ? undefined : file.parse(metaverseFile, resolved, metaverseKeys);
  for (const [name, value] of Object.entries(parsed?.parameters ?? {}))
    parameters.set(name, typeof value === "number" ? BigInt(value) : value);
  parsed?.objectTypes.forEach((type, index) => {
    const attributes = new Map<string, MetaverseAttribute>();
    type.attributes.forEach((attribute, at) => {
      if (attributes.has(attribute.name))
        file.report(
          ["objectTypes", index, "attributes", at, "name"],
          `"${attribute.name}" is there twice.`,
          "Remove one.",
        );
      attributes.set(attribute.name, attribute);
    });
    const { deletionRule } = type;
    if (typeof deletionRule === "object")
      deletionRule.anyOf.forEach((connector, at) => {
        if (!declared.has(connector) && declared.size > 0)
          file.report(
            ["objectTypes", index, "deletionRule", "anyOf", at],
            `There is no connector "${connector}".`,
            didYouMean(connector, declared),
          );
      });
    metaverse.set(type.name, {
      name: type.name,
      attributes,
      deletionRule:
        typeof deletionRule === "string"
          ? { kind: deletionRule }
          : { kind: "anyOf", connectors: deletionRule.anyOf },
    });
  });
  const metaverseExtension =
    parsed?.extension === undefined ? undefined : readExtension(parsed.extension, "metaverse", modules, file);
  parsed?.objectTypes.forEach(({ deletionRule }, index) => {
    const decides = parsed.extension === undefined || metaverseExtension?.entryPoints.shouldDeleteFromMV;
    if (deletionRule !== "extension" || (parsed.extension !== undefined && decides)) return;
    if (parsed.extension !== undefined && metaverseExtension === undefined) return; // told already
    file.report(
      ["objectTypes", index, "deletionRule"],
      parsed.extension === undefined
        ? "The metaverse has no rules extension that could decide."
        : `"metaverse" in extensions/${parsed.extension} has no shouldDeleteFromMV.`,
      parsed.extension === undefined
        ? 'Name one at the top of the file, as in "extension: guests.ts".'
        : "Add it, or write another deletion rule.",
    );
  });
  problems.push(...file.problems);
  return { metaverse, parameters, metaverseExtension };
}

const cycleKeys = keysOf(cycleFile);

function readCycles(
  files: readonly ConfigurationFile[],
  connectors: ReadonlyMap<string, ConnectorConfiguration>,
  declared: ReadonlySet<string>,
  problems: ConfigurationProblem[],
): ReadonlyMap<string, Cycle> {
  const cycles = new Map<string, Cycle>();
  for (const source of files) {
    const file = new YamlFile(source);
    const parsed = file.content === undefined ? undefined : file.parse(cycleFile, file.content, cycleKeys);
    if (parsed !== undefined) {
      if (cycles.has(parsed.name))
        file.report(["name"], `There is another cycle "${parsed.name}".`, "Give it another name.");
      const steps = parsed.steps.flatMap((step, index) => {
        const connector = connectors.get(step.connector);
        if (connector === undefined) {
          if (!declared.has(step.connector) && declared.size > 0)
            file.report(
              ["steps", index, "connector"],
              `There is no connector "${step.connector}".`,
              didYouMean(step.connector, declared),
            );
          return [];
        }
        const profile = connector.runProfiles.find((candidate) => candidate.name === step.profile);
        if (profile !== undefined) return [{ ...step, type: profile.type }];
        const names = connector.runProfiles.map((candidate) => candidate.name);
        file.report(
          ["steps", index, "profile"],
          `${step.connector} has no run profile "${step.profile}".`,
          didYouMean(step.profile, names),
        );
        return [];
      });
      cycles.set(parsed.name, { name: parsed.name, steps });
    }
    problems.push(...file.problems);
  }
  return cycles;
}

// ---- rules -------------------------------------------------------------------------------------------------------

const ruleKeys = keysOf(ruleFile);

function readRules(
  texts: readonly ConfigurationFile[],
  problems: ConfigurationProblem[],
): readonly { readonly file: YamlFile; readonly rule: SyncRule }[] {
  return texts.flatMap((source) => {
    const file = new YamlFile(source);
    const parsed = file.content === undefined ? undefined : file.parse(ruleFile, file.content, ruleKeys);
    problems.push(...file.problems);
    return parsed === undefined ? [] : [{ file, rule: ruleOf(parsed) }];
  });
}

function ruleOf({ description, flows, origin, ...rule }: z.output<typeof ruleFile>): SyncRule {
  return {
    ...rule,
    scope: rule.scope as SyncRule["scope"],
    ...(description !== undefined && { description }),
    ...(origin !== undefined && { origin }),
    flows: flows.map(({ source, constant, expression, extension, ownedBits, ...rest }): Flow => {
      const base = { ...rest, ...(ownedBits !== undefined && { ownedBits }) };
      if (source !== undefined) return { ...base, kind: "direct", source };
      if (extension !== undefined) return { ...base, kind: "extension", flowRuleName: extension };
      if (expression !== undefined) return { ...base, kind: "expression", expression };
      return {
        ...base,
        kind: "constant",
        value: typeof constant === "number" ? BigInt(constant) : constant!,
      };
    }),
  };
}

/** What rules are compiled with. */
type RuleBase = Pick<Configuration, "connectors" | "metaverse" | "parameters" | "schemas">;

function compiledRules(
  ruleTexts: readonly ConfigurationFile[],
  base: RuleBase,
  extensionTexts: readonly ConfigurationFile[],
): {
  rules: RuleSet;
  ruleTexts: readonly ConfigurationFile[];
  rulesVersion: string;
  warnings: readonly ConfigurationProblem[];
} {
  const problems: ConfigurationProblem[] = [];
  const read = readRules(ruleTexts, problems);
  const compiled = compileRules(
    read.map(({ rule }) => rule),
    ruleContext(base),
  );
  // Two rules of one name are told by the later one's place.
  const files = new Map(read.map(({ file, rule }) => [rule.name, file]));
  const found = compiled.ok ? compiled.warnings : compiled.problems;
  const ofSeverity = (severity: RuleProblem["severity"]) =>
    found
      .filter((problem) => problem.severity === severity)
      .map((problem) => placed(files.get(problem.rule)!, problem));
  problems.push(...ofSeverity("error"));
  const warnings = ofSeverity("warning");
  if (ruleTexts.length === 0)
    problems.push(missing("config/rules", "There is no rule.", "Add a file such as AAD-B2B-IN.yaml."));
  if (problems.length > 0 || !compiled.ok) throw new ConfigurationError(problems, warnings);
  return {
    rules: compiled.rules,
    ruleTexts,
    rulesVersion: rulesVersionOf(ruleSetHash(ruleTexts), restOf(extensionTexts, base)),
    warnings,
  };
}

function placed(
  file: YamlFile,
  { path, message, remedy, position, code }: RuleProblem,
): ConfigurationProblem {
  return { ...file.problem(path, message, remedy, position), code };
}

/** Another one when anything but the rules has changed that a synchronisation decides by. */
function restOf(
  extensionTexts: readonly ConfigurationFile[],
  { connectors, metaverse, parameters }: RuleBase,
): string {
  return shortHash([
    extensionTexts.map(({ file, text }) => [file, text]),
    attributesToJson(Object.fromEntries(parameters)),
    [...metaverse.values()].map(({ attributes, ...type }) => [type, [...attributes.values()]]),
    [...connectors.values()]
      .filter(({ kind }) => kind !== rulesConnectorKind)
      .map(({ name, objectTypes, filter, retainMs, orphans, deprovision, keepHandMadeDisable }) => [
        ...[name, objectTypes, filter, retainMs, deprovision, keepHandMadeDisable],
        ...(orphans === undefined ? [] : [orphans]),
      ]),
  ]);
}

/** What is known of a password before the directory has told its schema. */
const secretAttribute: AttributeInfo = { type: "string", multiValued: false, writeOnly: true };

function ruleContext(configuration: RuleBase): RuleContext {
  const connectorAttributes = new Map(
    [...configuration.connectors.values()].map((connector) => {
      const schemas = configuration.schemas.get(connector.name);
      const types = connector.objectTypes.map(
        ({ name, attributes }): [string, ReadonlyMap<string, AttributeInfo | null>] => {
          const known = schemas?.find((schema) => schema.name === name)?.attributes;
          const selected =
            known === undefined ? attributes : attributes.filter((attribute) => known.has(attribute));
          const secret = (attribute: string) =>
            connector.secretAttributes.has(attribute.toLowerCase()) ? secretAttribute : null;
          return [
            name,
            new Map(selected.map((attribute) => [attribute, known?.get(attribute) ?? secret(attribute)])),
          ];
        },
      );
      return [connector.name, new Map(types)] as const;
    }),
  );
  return {
    connectorAttributes,
    metaverseAttributes: new Map(
      [...configuration.metaverse.values()].map((type) => [type.name, type.attributes]),
    ),
    parameters: new Set([...configuration.parameters.keys(), "Connector.ID"]),
    extensions: new Map(
      [...configuration.connectors.values()].flatMap(({ name, extension }) => {
        const entryPoints = entryPointsOf(extension);
        return entryPoints === undefined ? [] : [[name, entryPoints] as const];
      }),
    ),
  };
}

function didYouMean(name: string, known: Iterable<string>): string {
  const names = [...known];
  const suggestion = closest(name, names);
  return suggestion === undefined ? `Known: ${names.join(", ") || "none"}.` : `Did you mean "${suggestion}"?`;
}

function missing(file: string, message: string, remedy: string): ConfigurationProblem {
  return { file, line: 1, column: 1, message, remedy };
}
