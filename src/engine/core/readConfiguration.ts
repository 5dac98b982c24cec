/**
 * Texts and settings → the configuration, or all that is wrong with it. Nothing here needs the network; what only a
 * directory's schema can tell is checked where that is known.
 */
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
  type MetaverseAttribute,
  type MetaverseSchema,
  type SettingsSchema,
} from "./configuration.ts";
import { didYouMean, missing, oncePerSetting } from "./configurationProblems.ts";
import { cycleFile, keysOf, metaverseFile } from "./configurationSchema.ts";
import type { MetaverseExtension, NamedExtension } from "./extension.ts";
import { readConnectors } from "./readConnectors.ts";
import { noExtensions, readExtension } from "./readExtension.ts";
import { compileRuleTexts, type Deployment, placed, readRules } from "./readRules.ts";
import { expressionProblems } from "./ruleCompiler.ts";
import { resolveSettings, type Settings } from "./settingReferences.ts";
import type { Value } from "./values.ts";
import { YamlFile } from "./yamlFile.ts";

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
