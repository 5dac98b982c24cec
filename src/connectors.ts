/** The kinds of connectors there are: the schema of their settings, and how one is made. */
import { AdConnector } from "./engine/connectors/ad/adConnector.ts";
import { secretAttributes } from "./engine/connectors/ad/schema.ts";
import { type AdSettings, adSettingsSchema } from "./engine/connectors/ad/settings.ts";
import { FileConnector } from "./engine/connectors/file/fileConnector.ts";
import { type FileSettings, fileSettingsSchema } from "./engine/connectors/file/settings.ts";
import { GraphConnector } from "./engine/connectors/graph/connector.ts";
import { type GraphSettings, graphSettingsSchema } from "./engine/connectors/graph/settings.ts";
import { assertRuleAttributes, rulesSettingsSchema } from "./engine/connectors/rules/rulesConnector.ts";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationProblem,
  type ConnectorConfiguration,
  type SettingsSchema,
} from "./engine/core/configuration.ts";
import { rulesConnectorKind } from "./engine/core/ruleDocuments.ts";
import { type Connector, ConnectorError } from "./engine/ports/connector.ts";

export const connectorKinds: ReadonlyMap<string, SettingsSchema> = new Map<string, SettingsSchema>([
  ["graph", graphSettingsSchema],
  ["ad", { safeParse: (settings) => adSettingsSchema.safeParse(settings), secretAttributes }],
  ["file", fileSettingsSchema],
  [rulesConnectorKind, rulesSettingsSchema],
]);

/** @throws Error for a kind that has no implementation, which the configuration's checks have ruled out. */
export function openConnector(definition: ConnectorConfiguration): Connector {
  switch (definition.kind) {
    case "graph":
      return new GraphConnector(definition, definition.settings as GraphSettings);
    case "ad":
      return new AdConnector(definition, definition.settings as AdSettings);
    case "file":
      return new FileConnector(definition, definition.settings as FileSettings);
    default:
      throw new Error(`Connector ${definition.name}: there is no kind ${definition.kind}.`);
  }
}

/**
 * All connectors, by name. Opening asks nothing of a directory, but finds what cannot work: certificates that are
 * none, a filter that Graph does not know.
 * @throws ConfigurationError
 */
export function openConnectors(
  configuration: Pick<Configuration, "connectors">,
): ReadonlyMap<string, Connector> {
  const connectors = new Map<string, Connector>();
  const problems: ConfigurationProblem[] = [];
  for (const definition of configuration.connectors.values()) {
    try {
      // The engine makes it itself: what it reads stands partly in the tables.
      if (definition.kind === rulesConnectorKind) assertRuleAttributes(definition);
      else connectors.set(definition.name, openConnector(definition));
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      const { message } = error;
      problems.push({ file: `connector ${definition.name}`, line: 0, column: 0, message, remedy: "" });
    }
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return connectors;
}
