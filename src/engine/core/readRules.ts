/** The files of `rules/`: read, checked against the rest of the configuration, compiled. */
import type { z } from "zod";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
  type ConfigurationProblem,
} from "./configuration.ts";
import { missing } from "./configurationProblems.ts";
import { keysOf, ruleFile } from "./configurationSchema.ts";
import { entryPointsOf } from "./readExtension.ts";
import { compileRules } from "./ruleCompiler.ts";
import { rulesConnectorKind } from "./ruleDocuments.ts";
import type { AttributeInfo, Flow, RuleContext, RuleProblem, RuleSet, SyncRule } from "./rules.ts";
import { ruleSetHash, rulesVersionOf, shortHash } from "./ruleVersions.ts";
import { attributesToJson } from "./values.ts";
import { YamlFile } from "./yamlFile.ts";

/** A configuration whose rules are not checked yet. */
export type Deployment = Omit<Configuration, "rules" | "rulesVersion" | "warnings">;

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

const ruleKeys = keysOf(ruleFile);

export function readRules(
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

export function placed(
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
