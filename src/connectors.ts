/** The kinds of connectors there are: the schema of their settings, and how one is made. */
import { AdConnector } from "./engine/connectors/ad/adConnector.ts";
import { type AdSettings, adSettingsSchema } from "./engine/connectors/ad/settings.ts";
import { GraphConnector } from "./engine/connectors/graph/connector.ts";
import { type GraphSettings, graphSettingsSchema } from "./engine/connectors/graph/settings.ts";
import type { ConnectorConfiguration, SettingsSchema } from "./engine/core/configuration.ts";
import type { Connector } from "./engine/ports/connector.ts";

export const connectorKinds: ReadonlyMap<string, SettingsSchema> = new Map<string, SettingsSchema>([
  ["graph", graphSettingsSchema],
  ["ad", adSettingsSchema],
]);

/** @throws Error for a kind that has no implementation, which the configuration's checks have ruled out. */
export function openConnector(definition: ConnectorConfiguration): Connector {
  switch (definition.kind) {
    case "graph":
      return new GraphConnector(definition, definition.settings as GraphSettings);
    case "ad":
      return new AdConnector(definition, definition.settings as AdSettings);
    default:
      throw new Error(`Connector ${definition.name}: there is no kind ${definition.kind}.`);
  }
}
