/** Users and groups of an Entra tenant, through Microsoft Graph; in the recipe its guests, as AADMA. */
import { createHash } from "node:crypto";
import type {
  AbsenceVerdict,
  Connector,
  ConnectorCapabilities,
  ConnectorContext,
  ConnectorDefinition,
  ExportChange,
  ExportResult,
  Finding,
  ImportPage,
  ImportStart,
  ObjectTypeSchema,
} from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import { GraphClient, notGraph } from "./client.ts";
import { examineTenant } from "./examine.ts";
import { exportObjects } from "./export.ts";
import { absenceOf, GraphImport, imageOf } from "./import.ts";
import { lookAt } from "./looks.ts";
import type { GroupScope } from "./membership.ts";
import { areMembers, readMembers } from "./membership.ts";
import { type GraphObjectType, objectTypesOf } from "./objectTypes.ts";
import type { RetryPolicy } from "./pipeline.ts";
import type { GraphSettings } from "./settings.ts";
import { certificateAuthorities } from "./settings.ts";
import { tokenSource } from "./token.ts";

/** How patient the connector is; tests are less so. */
export interface GraphPatience {
  readonly retry: RetryPolicy;
  /** How long a change may take to reach the replica that answers a direct read. */
  readonly replicationMs: number;
}

const defaultPatience: GraphPatience = {
  retry: { attemptsMax: 6, budgetMs: 45_000, firstDelayMs: 500, delayMaxMs: 15_000, callBudgetMs: 90_000 },
  replicationMs: 4_000,
};

export class GraphConnector implements Connector {
  readonly capabilities: ConnectorCapabilities;
  readonly scopeHash: string;

  readonly #name: string;
  readonly #client: GraphClient;
  readonly #types: readonly GraphObjectType[];
  /** Null: no groups limit the scope. */
  readonly #groups: GroupScope | null;
  readonly #replicationMs: number;
  readonly #settings: GraphSettings;

  /** @throws ConnectorError "configuration": unknown attribute, unsupported filter, no certificate. */
  constructor(
    definition: ConnectorDefinition,
    settings: GraphSettings,
    patience: GraphPatience = defaultPatience,
  ) {
    this.#name = definition.name;
    this.#settings = settings;
    this.capabilities = {
      deltaImport: true,
      export: settings.writable,
      exportBatchMax: settings.writable ? 40 : 0,
      exportTimeoutMs: 60_000,
      dnSyntax: "exact",
    };
    const { groups, transitiveMembers: transitive } = settings;
    if (groups.length > 0 && settings.writable) {
      throw new ConnectorError(
        "configuration",
        `Connector ${definition.name}: groups limit what is imported, and a user who is created belongs to none of them yet. Use groups or writable, not both.`,
      );
    }
    this.#groups = groups.length === 0 ? null : { groups, transitive };
    this.#types = objectTypesOf(definition, settings);
    this.#replicationMs = patience.replicationMs;
    const scope = this.#types.map(({ name, filter, select, attributes: { references } }) => [
      name,
      filter.odata,
      select,
      references.map((reference) => reference.name).sort(),
    ]);
    this.scopeHash = createHash("sha256")
      .update(JSON.stringify([settings.baseUrl, scope, this.#groups]))
      .digest("hex");
    this.#client = new GraphClient({
      baseUrl: settings.baseUrl,
      authorities: certificateAuthorities(settings.caCertificate),
      token: tokenSource(settings),
      retry: patience.retry,
    });
  }

  schema(): Promise<readonly ObjectTypeSchema[]> {
    return Promise.resolve(this.#types.map(({ attributes }) => attributes.schema));
  }

  async *importPages(start: ImportStart, context: ConnectorContext): AsyncGenerator<ImportPage> {
    const members = this.#groups === null ? null : await readMembers(this.#client, this.#groups, context);
    yield* new GraphImport({
      client: this.#client,
      types: this.#types,
      members,
      pageSize: this.#settings.pageSize,
      replicationMs: this.#replicationMs,
      context,
    }).pages(start);
  }

  async readAbsent(
    anchors: readonly string[],
    context: ConnectorContext,
  ): Promise<readonly AbsenceVerdict[]> {
    const looks = await lookAt(this.#client, this.#types, anchors, context);
    const users = anchors.filter((anchor) => {
      const look = looks.get(anchor)!;
      return look.kind === "present" && look.type.name === "user";
    });
    const members =
      this.#groups === null ? null : await areMembers(this.#client, this.#groups, users, context);
    return anchors.map((anchor): AbsenceVerdict => {
      const look = looks.get(anchor)!;
      if (look.kind === "gone") return look;
      const absence = absenceOf(look.type, anchor, look.object, members);
      if (absence !== null) return { kind: "gone", absence };
      return { kind: "present", image: imageOf(look.type, anchor, look.object) };
    });
  }

  async exportBatch(
    changes: readonly ExportChange[],
    context: ConnectorContext,
  ): Promise<readonly ExportResult[]> {
    if (!this.#settings.writable) {
      throw new ConnectorError(
        "configuration",
        `Connector ${this.#name} only imports from Graph; set writable if it shall export.`,
      );
    }
    const scope = {
      client: this.#client,
      types: this.#types,
      settings: this.#settings,
      replicationMs: this.#replicationMs,
      context,
    };
    return exportObjects(scope, changes);
  }

  async ping(): Promise<void> {
    // One of the few reads that the least permission allows without more.
    const url = this.#client.url(`${this.#types[0]!.collection}?$top=1&$select=id`);
    const body = await this.#client.get(url, { log: () => {} });
    if (!Array.isArray((body as { value?: unknown } | undefined)?.value))
      throw notGraph("a page without `value`");
  }

  examine(context: ConnectorContext, managedContainers: readonly string[]): AsyncIterable<Finding> {
    const [client, settings] = [this.#client, this.#settings];
    const types = this.#types.map(({ name }) => name);
    return examineTenant({
      client,
      settings,
      types,
      token: tokenSource(settings),
      managedContainers,
      context,
    });
  }

  close(): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }
}
