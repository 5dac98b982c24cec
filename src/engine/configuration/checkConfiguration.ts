/**
 * The whole configuration, checked before anything runs: all that `loadConfiguration` would refuse, and what only the
 * schemas of the connected directories can tell. Those of Graph's users and groups are known here; Active Directory is asked for its own.
 */
import { objectTypesOf } from "../connectors/graph/objectTypes.ts";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
  type ConfigurationProblem,
  type ConnectorConfiguration,
  type ExtensionModules,
  type SettingsSchema,
} from "../core/configuration.ts";
import { renderPlace } from "../core/expression/expression.ts";
import { readConfiguration } from "../core/readConfiguration.ts";
import { noExtensions } from "../core/readExtension.ts";
import { rulesConnectorKind } from "../core/ruleDocuments.ts";
import { type Settings, unsetSettings } from "../core/settingReferences.ts";
import { YamlFile } from "../core/yamlFile.ts";
import { ConnectorError, type ObjectTypeSchema } from "../ports/connector.ts";

export interface CheckedConfiguration {
  /** Null when something is wrong. */
  readonly configuration: Configuration | null;
  readonly errors: readonly ConfigurationProblem[];
  readonly warnings: readonly ConfigurationProblem[];
  /** Settings that are not set here; what depends on their values was not checked. */
  readonly unset: readonly string[];
  /** The connectors whose attributes were checked with their types, and by what. */
  readonly typed: ReadonlyMap<string, string>;
}

/** Reads the schema of a connected directory. @throws ConnectorError */
export type ReadSchema = (connector: ConnectorConfiguration) => Promise<readonly ObjectTypeSchema[]>;

/**
 * @param live asks the directories; settings that are not set are then mistakes, as they are when the app starts
 */
export async function checkConfiguration(
  files: readonly ConfigurationFile[],
  settings: Settings,
  kinds: ReadonlyMap<string, SettingsSchema>,
  live: ReadSchema | null = null,
  modules: ExtensionModules = noExtensions,
): Promise<CheckedConfiguration> {
  const unset = live === null ? unsetIn(files, settings) : [];
  const known = { ...settings, ...Object.fromEntries(unset.map((name) => [name, standIn(name)])) };
  const lenient = new Map([...kinds].map(([kind, schema]) => [kind, withStandIns(schema, unset)]));
  const schemas = new Map<string, readonly ObjectTypeSchema[]>();
  const typed = new Map<string, string>();
  const found: ConfigurationProblem[] = [];
  const asked: ConnectorConfiguration[] = [];
  const schemaOf = (connector: ConnectorConfiguration) => {
    if (connector.kind === rulesConnectorKind) return undefined;
    asked.push(connector);
    if (connector.kind !== "graph") return undefined;
    const { schema, problems } = graphSchema(connector, files);
    found.push(...problems);
    typed.set(connector.name, "the properties of a Graph user");
    schemas.set(connector.name, schema);
    return schema;
  };
  let result = read(files, known, lenient, schemaOf, modules);
  if (live !== null && asked.length > 0) {
    for (const connector of asked) {
      try {
        schemas.set(connector.name, await live(connector));
        typed.set(connector.name, "the schema of the connected directory");
      } catch (error) {
        if (!(error instanceof ConnectorError)) throw error;
        const place = connectorFile(connector, files)?.place(["objectTypes"]) ?? { line: 1, column: 1 };
        const file = connectorFile(connector, files)?.file ?? connector.name;
        found.push({ file, ...place, code: error.kind, message: error.message, remedy: "" });
      }
    }
    result = read(files, known, lenient, ({ name }) => schemas.get(name), modules);
  }
  const errors = [...found.filter(unlike(result.errors)), ...result.errors];
  const configuration = errors.length > 0 ? null : result.configuration;
  return { configuration, errors, warnings: result.warnings, unset, typed };
}

/** With the line and a caret under the place, as a terminal shows it. */
export function renderConfigurationProblem(
  severity: "error" | "warning",
  problem: ConfigurationProblem,
  files: readonly ConfigurationFile[],
): string {
  const { file, line, column, code, message, remedy, length = 1 } = problem;
  const text = files.find((one) => one.file === file)?.text;
  return [
    `${file}:${line}:${column} ${severity}${code === undefined ? "" : ` ${code}`}: ${message}`,
    ...(text === undefined ? [] : renderPlace(text, { line, column, length })),
    ...(remedy === "" ? [] : [`  ${remedy}`]),
  ].join("\n");
}

function read(...parameters: Parameters<typeof readConfiguration>): {
  readonly configuration: Configuration | null;
  readonly errors: readonly ConfigurationProblem[];
  readonly warnings: readonly ConfigurationProblem[];
} {
  try {
    const configuration = readConfiguration(...parameters);
    return { configuration, errors: [], warnings: configuration.warnings };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return { configuration: null, errors: error.problems, warnings: error.warnings };
  }
}

function unlike(others: readonly ConfigurationProblem[]): (problem: ConfigurationProblem) => boolean {
  return ({ file, line, column }) =>
    !others.some((other) => other.file === file && other.line === line && other.column === column);
}

// ---- settings that are not set here ------------------------------------------------------------------------------

function unsetIn(files: readonly ConfigurationFile[], settings: Settings): readonly string[] {
  const names = files.flatMap((source) => {
    if (source.file.split("/").at(-2) === "rules") return []; // a rule's %Name% are parameters
    const { content } = new YamlFile(source);
    if (typeof content !== "object" || content === null) return [];
    const { filter: _parametersOfRules, ...rest } = content as { filter?: unknown };
    return unsetSettings(rest, settings);
  });
  return [...new Set(names)].sort();
}

function standIn(name: string): string {
  return `%${name}%`;
}

/** Settings with a value that is not known cannot be judged. */
function withStandIns(schema: SettingsSchema, unset: readonly string[]): SettingsSchema {
  return {
    safeParse: (settings) => {
      const text = JSON.stringify(settings);
      return unset.some((name) => text.includes(standIn(name)))
        ? { success: true, data: settings }
        : schema.safeParse(settings);
    },
  };
}

// ---- the schema of Graph -----------------------------------------------------------------------------------------

function connectorFile(
  connector: ConnectorConfiguration,
  files: readonly ConfigurationFile[],
): YamlFile | undefined {
  return files
    .filter(({ file }) => file.split("/").at(-2) === "connectors")
    .map((source) => new YamlFile(source))
    .find(({ content }) => (content as { name?: unknown } | null | undefined)?.name === connector.name);
}

const unfiltered = { filter: "all", groupFilter: "all" };

/** The selected attributes that there are, and a problem for each other. */
function graphSchema(
  connector: ConnectorConfiguration,
  files: readonly ConfigurationFile[],
): { readonly schema: readonly ObjectTypeSchema[]; readonly problems: readonly ConfigurationProblem[] } {
  const { name } = connector;
  const file = connectorFile(connector, files);
  const problems: ConfigurationProblem[] = [];
  const schema = connector.objectTypes.map((type, t): ObjectTypeSchema => {
    const attributes = type.attributes.flatMap((attribute, a) => {
      try {
        const one = { name, objectTypes: [{ name: type.name, attributes: [attribute] }] };
        return [...objectTypesOf(one, unfiltered)[0]!.attributes.schema.attributes];
      } catch (error) {
        if (!(error instanceof ConnectorError)) throw error;
        const message = error.message.replace(`Connector ${name}: `, "");
        const path = ["objectTypes", t, "attributes", a];
        if (file !== undefined)
          problems.push({ ...file.problem(path, message, ""), code: "unknown-attribute" });
        return [];
      }
    });
    return { name: type.name, attributes: new Map(attributes) };
  });
  return { schema, problems };
}
