import { createHash } from "node:crypto";
import { dnKey, isUnder } from "../../core/values.ts";
import {
  type AbsenceVerdict,
  type Connector,
  type ConnectorCapabilities,
  type ConnectorContext,
  type ConnectorDefinition,
  ConnectorError,
  type ExportChange,
  type ExportResult,
  type Finding,
  type ImportPage,
  type ImportStart,
  type ObjectTypeSchema,
} from "../../ports/connector.ts";
import { inParallel } from "../inParallel.ts";
import { AdClient, domainScope } from "./adClient.ts";
import {
  readDomainController,
  refusalsAsFailures,
  requireContainers,
  seesDeletedObjects,
} from "./domainController.ts";
import { anchorOf, isInScope, objectTypeOf, readAttributes, toImage, typesFilter } from "./entries.ts";
import { examineDomain } from "./examine.ts";
import { exportChange } from "./export.ts";
import {
  deltaPosition,
  importFrom,
  parsePosition,
  parseWatermark,
  requireSameDatabase,
  startPosition,
} from "./import.ts";
import type { ConnectionTarget } from "./ldapConnection.ts";
import { changesThatMeetHolders } from "./nameHolders.ts";
import { type AdSchema, readSchema } from "./schema.ts";
import { type AdSettings, connectionTarget } from "./settings.ts";
import { byGuid } from "./values.ts";

/**
 * One Active Directory domain. The anchor is objectGUID as lower-case text; in scope is what lies in the configured
 * OUs. Everything goes over one connection with several requests on their way.
 */
export class AdConnector implements Connector {
  readonly capabilities: ConnectorCapabilities;
  readonly scopeHash: string;
  readonly #definition: ConnectorDefinition;
  readonly #settings: AdSettings;
  readonly #containers: readonly string[];
  readonly #client: AdClient;
  readonly #globalCatalog: AdClient | undefined;
  #schema: Promise<AdSchema> | undefined;

  /** @throws ConnectorError "configuration" when AD_CA_CERTIFICATE cannot be used. */
  constructor(definition: ConnectorDefinition, settings: AdSettings) {
    this.#definition = definition;
    this.#settings = settings;
    // An OU within another one would be listed twice.
    this.#containers = settings.containers.filter(
      (one, index, all) =>
        !all.some(
          (other, at) => at !== index && isUnder(one, other) && (dnKey(one) !== dnKey(other) || at < index),
        ),
    );
    const { bindDn, bindPassword, operationTimeoutMs, globalCatalogUrl } = settings;
    const client = (target: ConnectionTarget) =>
      new AdClient({ target, bindDn, bindPassword, operationTimeoutMs });
    this.#client = client(connectionTarget(settings));
    this.#globalCatalog =
      globalCatalogUrl === undefined ? undefined : client(connectionTarget(settings, globalCatalogUrl));
    this.capabilities = {
      deltaImport: true,
      export: true,
      // Before the first write of a batch and after its last the directory waits for us: seldom enough with so many.
      exportBatchMax: settings.inFlight * 8,
      exportTimeoutMs: settings.operationTimeoutMs,
      dnSyntax: "dn",
    };
    this.scopeHash = createHash("sha256")
      .update(
        JSON.stringify([
          dnKey(settings.baseDn),
          this.#containers.map(dnKey).sort(),
          definition.objectTypes
            .map(({ name, attributes }) => [name, [...attributes].map((one) => one.toLowerCase()).sort()])
            .sort(),
        ]),
      )
      .digest("base64url")
      .slice(0, 22);
  }

  async schema(): Promise<readonly ObjectTypeSchema[]> {
    const schema = await this.#readSchema();
    return [...schema.values()].map(({ name, attributes }) => ({
      name,
      attributes: new Map([...attributes.values()].map((attribute) => [attribute.name, attribute])),
    }));
  }

  async *importPages(start: ImportStart, context: ConnectorContext): AsyncGenerator<ImportPage> {
    const scope = {
      client: this.#client,
      schema: await this.#readSchema(),
      baseDn: this.#settings.baseDn,
      containers: this.#containers,
      pageSize: this.#settings.pageSize,
      requireContainers: () => this.ping(),
    };
    const dc = await readDomainController(this.#client);
    await scope.requireContainers();
    if (start.kind === "resume") {
      const position = parsePosition(start.cursor);
      requireSameDatabase(position.watermark, dc);
      yield* importFrom(scope, position);
    } else if (start.kind === "full") {
      const phase = this.#settings.dirSync === "auto" ? "cookie" : "marked";
      yield* importFrom(scope, startPosition("full", 0n, dc, false, phase));
    } else {
      const watermark = parseWatermark(start.watermark);
      requireSameDatabase(watermark, dc);
      const seesDeleted = await refusalsAsFailures("Reading the Deleted Objects container", () =>
        seesDeletedObjects(this.#client, this.#settings.baseDn),
      );
      if (!seesDeleted) {
        context.log(
          "The account of AD_BIND_DN may not read the Deleted Objects container, so deletions are found by comparing the whole population. Grant it List Contents and Read Property there to spare that.",
        );
      }
      const { cookie, ...numbers } = watermark;
      const from = this.#settings.dirSync === "auto" && cookie !== undefined ? watermark : numbers;
      yield* importFrom(scope, deltaPosition(from, dc, !seesDeleted));
    }
  }

  async *listAnchors(): AsyncGenerator<readonly string[]> {
    const schema = await this.#readSchema();
    await requireContainers(this.#client, this.#settings.baseDn, this.#containers);
    for (const container of this.#containers) {
      const pages = this.#client.search(container, {
        filter: typesFilter(schema),
        attributes: ["objectClass", "objectGUID"],
        controls: [domainScope],
        pageSize: this.#settings.pageSize,
      });
      for (;;) {
        const { value, done } = await refusalsAsFailures(`Listing ${container}`, () => pages.next());
        if (done === true) break;
        yield value.entries
          .filter((entry) => objectTypeOf(schema, entry) !== undefined)
          .map(anchorOf)
          .filter((anchor) => anchor !== undefined);
      }
    }
  }

  async readAbsent(anchors: readonly string[]): Promise<readonly AbsenceVerdict[]> {
    const schema = await this.#readSchema();
    const attributes = readAttributes(schema);
    const verdicts = await inParallel(this.#settings.inFlight, anchors, async (anchor) =>
      this.#verdict(schema, attributes, anchor),
    );
    // Had a container of the scope just been renamed, nobody in it would have moved.
    if (verdicts.some(({ kind }) => kind === "movedOutOfScope")) await this.ping();
    return verdicts;
  }

  async #verdict(schema: AdSchema, attributes: readonly string[], anchor: string): Promise<AbsenceVerdict> {
    const entry = await refusalsAsFailures(`Reading ${byGuid(anchor)}`, () =>
      this.#client.read(byGuid(anchor), attributes),
    );
    if (entry === undefined) return { kind: "gone", absence: "deleted" };
    const type = objectTypeOf(schema, entry);
    if (type === undefined || !isInScope(entry.dn, this.#containers)) {
      return { kind: "movedOutOfScope", dn: entry.dn };
    }
    try {
      return { kind: "present", image: toImage(type, entry) };
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      // It is there, so it must not be taken for gone; without its values there is no verdict to give. By its GUID:
      // what stops a step is told to the telemetry too, which holds nobody's name.
      throw new ConnectorError(
        "configuration",
        `${byGuid(anchor)}: ${error.message}. Correct the value in the directory, or leave the attribute out of the connector.`,
        { cause: error },
      );
    }
  }

  async exportBatch(
    changes: readonly ExportChange[],
    context: ConnectorContext,
  ): Promise<readonly ExportResult[]> {
    const scope = {
      client: this.#client,
      schema: await this.#readSchema(),
      baseDn: this.#settings.baseDn,
      containers: this.#containers,
      stampAttribute: this.#settings.stampAttribute,
      randomPassword: this.#settings.randomPassword,
      denyLogonGroup: this.#settings.denyLogonGroup,
      globalCatalog: this.#globalCatalog,
      mayWrite: () => context.mayWrite?.() ?? true,
    };
    const met = await changesThatMeetHolders(scope, changes);
    return inParallel(this.#settings.inFlight, changes, (change) =>
      exportChange(scope, change, met.has(change.id)),
    );
  }

  async ping(): Promise<void> {
    await requireContainers(this.#client, this.#settings.baseDn, this.#containers);
  }

  get containers(): readonly string[] {
    return this.#containers;
  }

  examine(): AsyncIterable<Finding> {
    return examineDomain({
      client: this.#client,
      target: connectionTarget(this.#settings),
      baseDn: this.#settings.baseDn,
      bindDn: this.#settings.bindDn,
      containers: this.#containers,
      denyLogonGroup: this.#settings.denyLogonGroup,
      globalCatalog: this.#globalCatalog,
      schema: () => this.#readSchema(),
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.#client.close(), this.#globalCatalog?.close()]);
  }

  /** Once per instance; a failure is not kept. */
  #readSchema(): Promise<AdSchema> {
    this.#schema ??= refusalsAsFailures("Reading the directory's schema", async () => {
      const { schemaNamingContext } = await readDomainController(this.#client);
      return readSchema(this.#client, schemaNamingContext, this.#definition);
    }).catch((error: unknown) => {
      this.#schema = undefined;
      throw error;
    });
    return this.#schema;
  }
}
