/** The OpenAPI 3.1 document of the API: the table of its calls, and the schemas of `schemas.ts`. */
import { z } from "zod";
import { problemTitles } from "./responses.ts";
import "./insightSchemas.ts";
import "./ruleSchemas.ts";
import { schemas } from "./schemas.ts";

interface Call {
  /** The name of the function that answers it. */
  readonly id: string;
  readonly method: "get" | "post" | "put" | "delete";
  readonly path: string;
  readonly summary: string;
  readonly query?: readonly (keyof typeof queryParameters)[];
  /** Names of schemas. */
  readonly body?: string;
  readonly answers: Readonly<Record<number, string>>;
  /** Status codes of problem documents beside those that every call may end in. */
  readonly problems?: readonly number[];
  readonly anonymous?: true;
}

const text = { type: "string" } as const;
const queryParameters = {
  limit: {
    description: "The most items to answer.",
    schema: { type: "integer", minimum: 1, maximum: 1000, default: 100 },
  },
  continuation: { description: "Where the last page of this list ended.", schema: text },
  connector: { description: "Only what is of this connector.", schema: text },
  change: { description: "Only changes of this kind; with connector.", schema: text },
  status: { description: "Only runs with this status.", schema: text },
  why: { description: "Why; kept in the audit.", schema: text },
  pendingImport: {
    description: "The kind of the pending import: add, update, rename, delete, deleteAdd, any or none.",
    schema: text,
  },
  pendingExport: {
    description: "The kind of the pending export: add, update, rename, delete, any or none.",
    schema: text,
  },
  state: {
    description: "connector or disconnector, or one of their kinds such as filteredDisconnector.",
    schema: text,
  },
  dn: { description: "Only the object with this DN.", schema: text },
  anchor: { description: "Only the object with this anchor.", schema: text },
  where: {
    description:
      "`<attribute> <operator> [value]`, such as `employeeType equals Guest`; every clause must hold.",
    schema: { type: "array", items: text },
  },
} as const;

const paged = ["limit", "continuation"] as const;

const pathParameters: Readonly<Record<string, string>> = {
  id: "The id.",
  name: "The connector's name.",
  rule: "The rule's name.",
  version: "The number of a version, or its hash.",
  anchor: "The object's id, or its anchor as text or in base64url.",
};

const calls: readonly Call[] = [
  {
    id: "startRun",
    method: "post",
    path: "/runs",
    summary: "Starts a run profile of a connector, or a cycle. A run in the way is never waited for.",
    body: "StartRun",
    answers: { 202: "Run" },
    problems: [400, 404, 409, 413, 422],
  },
  {
    id: "listRuns",
    method: "get",
    path: "/runs",
    summary: "Runs, newest first.",
    query: ["connector", "status", ...paged],
    answers: { 200: "RunList" },
    problems: [400],
  },
  {
    id: "getRun",
    method: "get",
    path: "/runs/{id}",
    summary: "One run with its statistics and errors, also while it is in progress.",
    answers: { 200: "Run" },
    problems: [404],
  },
  {
    id: "stopRun",
    method: "post",
    path: "/runs/{id}/stop",
    summary: "Stops a run at its next checkpoint.",
    answers: { 202: "Run" },
    problems: [404, 409],
  },
  {
    id: "acceptImport",
    method: "post",
    path: "/runs/{id}/accept",
    summary:
      "Accepts a full import that was refused because it had shrunk: the next one that shows as many objects (± 1 percent) is taken as complete.",
    body: "AcceptImport",
    answers: { 200: "Run" },
    problems: [400, 404, 409, 413],
  },
  {
    id: "listConnectors",
    method: "get",
    path: "/connectors",
    summary: "All connectors with their state.",
    answers: { 200: "ConnectorList" },
  },
  {
    id: "getConnector",
    method: "get",
    path: "/connectors/{name}",
    summary: "One connector: what it holds, what is pending, its last runs.",
    answers: { 200: "Connector" },
    problems: [404],
  },
  {
    id: "searchConnectorSpace",
    method: "get",
    path: "/connectors/{name}/objects",
    summary: "Searches a connector space.",
    query: ["pendingImport", "pendingExport", "state", "dn", "anchor", ...paged],
    answers: { 200: "ConnectorSpaceItemList" },
    problems: [400, 404],
  },
  {
    id: "getConnectorSpaceObject",
    method: "get",
    path: "/connectors/{name}/objects/{anchor}",
    summary: "One connector space object with its tower of holograms.",
    answers: { 200: "ConnectorSpaceObject" },
    problems: [404],
  },
  {
    id: "joinObject",
    method: "post",
    path: "/connectors/{name}/objects/{anchor}/join",
    summary:
      "Joins the object to a metaverse object by hand: an explicit connector, immune to scope. `disconnect` undoes it.",
    body: "Join",
    answers: { 202: "Run" },
    problems: [400, 404, 409, 413],
  },
  {
    id: "disconnectObject",
    method: "post",
    path: "/connectors/{name}/objects/{anchor}/disconnect",
    summary:
      "Disconnects the object by hand. As `explicit` no rule joins it again until `join`, or until it is made `normal`; as `normal` the rules decide anew. Nothing is deleted.",
    body: "Disconnect",
    answers: { 202: "Run" },
    problems: [400, 404, 409, 413],
  },
  {
    id: "synchronizeObject",
    method: "post",
    path: "/connectors/{name}/objects/{anchor}/synchronize",
    summary: "Synchronises this one object.",
    body: "Why",
    answers: { 202: "Run" },
    problems: [400, 404, 409, 413],
  },
  {
    id: "retryObject",
    method: "post",
    path: "/connectors/{name}/objects/{anchor}/retry",
    summary:
      "Synchronises this one object and forgets how often it has failed, so that it is tried again at once.",
    body: "Why",
    answers: { 202: "Run" },
    problems: [400, 404, 409, 413],
  },
  {
    id: "getExportPlan",
    method: "get",
    path: "/connectors/{name}/export-plan",
    summary: "What the connector would export now. Write-only attributes (passwords) are never shown.",
    query: paged,
    answers: { 200: "ExportPlan" },
    problems: [400, 404, 409],
  },
  {
    id: "approveExportPlan",
    method: "post",
    path: "/connectors/{name}/export-plan/approve",
    summary:
      "Exports exactly the plan with this hash, whatever its limits; what has changed since is left out.",
    body: "ApprovePlan",
    answers: { 202: "Run" },
    problems: [400, 404, 409, 413, 422],
  },
  {
    id: "searchMetaverse",
    method: "get",
    path: "/metaverse",
    summary: "Searches the metaverse.",
    query: ["where", ...paged],
    answers: { 200: "MetaverseItemList" },
    problems: [400],
  },
  {
    id: "getMetaverseObject",
    method: "get",
    path: "/metaverse/{id}",
    summary: "One metaverse object with the lineage of its values.",
    answers: { 200: "MetaverseObject" },
    problems: [404],
  },
  {
    id: "preview",
    method: "post",
    path: "/preview",
    summary: "What synchronising one object would do, with every decision's reason. Writes nothing.",
    body: "PreviewRequest",
    answers: { 200: "Preview" },
    problems: [400, 404, 413, 422],
  },
  {
    id: "holdMetaverseObject",
    method: "post",
    path: "/metaverse/{id}/hold",
    summary: "Puts a metaverse object on hold: nothing is exported for it.",
    body: "HoldRequest",
    answers: { 200: "Hold" },
    problems: [400, 404, 413],
  },
  {
    id: "releaseMetaverseObject",
    method: "delete",
    path: "/metaverse/{id}/hold",
    summary: "Ends a hold; what is pending goes with the next export. May say why.",
    body: "Why",
    answers: { 200: "Released" },
    problems: [400, 404, 413],
  },
  {
    id: "listOrphans",
    method: "get",
    path: "/connectors/{name}/orphans",
    summary: "Accounts that belong to nobody: with our stamp, or somebody else's.",
    query: paged,
    answers: { 200: "OrphanList" },
    problems: [400, 404, 422],
  },
  {
    id: "emptyConnectorSpace",
    method: "delete",
    path: "/connectors/{name}/space",
    summary:
      "Empties one connector space; `confirm` repeats the connector's name. Nothing is written to its directory: the next full import and synchronisation find the objects again.",
    body: "EmptySpace",
    answers: { 200: "EmptiedSpace" },
    problems: [400, 404, 409, 413],
  },
  {
    id: "listHolds",
    method: "get",
    path: "/holds",
    summary: "All metaverse objects on hold, newest first.",
    answers: { 200: "HoldList" },
  },
  {
    id: "getMetaverseHistory",
    method: "get",
    path: "/metaverse/{id}/history",
    summary: "What has happened to a metaverse object, newest first, also after it has gone.",
    query: paged,
    answers: { 200: "HistoryList" },
    problems: [400, 404],
  },
  {
    id: "listAudit",
    method: "get",
    path: "/audit",
    summary: "Who did what, when and why, newest first.",
    query: paged,
    answers: { 200: "AuditList" },
    problems: [400],
  },
  {
    id: "listRules",
    method: "get",
    path: "/rules",
    summary: "The rules as the next import of the rules connector sees them.",
    answers: { 200: "RuleList" },
  },
  {
    id: "getRule",
    method: "get",
    path: "/rules/{rule}",
    summary: "One rule with its text.",
    answers: { 200: "Rule" },
    problems: [404],
  },
  {
    id: "putRule",
    method: "put",
    path: "/rules/{rule}",
    summary:
      "Edits a rule, or adds one: it stands in the place of its file until that file changes. The next cycle checks and activates it with the whole set.",
    body: "PutRule",
    answers: { 200: "StagedRule" },
    problems: [400, 409, 413, 422],
  },
  {
    id: "deleteRule",
    method: "delete",
    path: "/rules/{rule}",
    summary: "Deletes a rule, until its file changes; taken up like an edit.",
    query: ["why"],
    answers: { 200: "RuleList" },
    problems: [400, 404, 409],
  },
  {
    id: "listRulesVersions",
    method: "get",
    path: "/rules/versions",
    summary: "The versions of the rules, newest first.",
    query: paged,
    answers: { 200: "RulesVersionList" },
    problems: [400],
  },
  {
    id: "activateRules",
    method: "post",
    path: "/rules/versions/{version}/activate",
    summary:
      "Approves the version that waits, or rolls back to an earlier one, which then stands until files or edits change.",
    body: "ActivateRules",
    answers: { 200: "ActivatedRules" },
    problems: [400, 404, 409, 413, 422],
  },
  {
    id: "startRulesDiff",
    method: "post",
    path: "/rules/diff",
    summary: "Begins to compare changed rules with the active ones: what they would do to everybody.",
    body: "RulesDiffRequest",
    answers: { 202: "Run" },
    problems: [400, 409, 413, 422],
  },
  {
    id: "getRulesDiff",
    method: "get",
    path: "/rules/diff/{id}",
    summary: "What a comparison of rules has found, by connector and kind.",
    query: ["connector", "change", ...paged],
    answers: { 200: "RulesDiff" },
    problems: [400, 404],
  },
  {
    id: "evaluateExpression",
    method: "post",
    path: "/expressions/evaluate",
    summary: "Evaluates an expression for given attributes.",
    body: "TryExpression",
    answers: { 200: "ExpressionValue" },
    problems: [400, 413, 422],
  },
  {
    id: "getSchedule",
    method: "get",
    path: "/schedule",
    summary: "The scheduler of cycles.",
    answers: { 200: "Schedule" },
  },
  {
    id: "changeSchedule",
    method: "put",
    path: "/schedule",
    summary: "Suspends the scheduler, or resumes it. A cycle in progress goes on to its end.",
    body: "ScheduleChange",
    answers: { 200: "Schedule" },
    problems: [400, 413],
  },
  {
    id: "health",
    method: "get",
    path: "/health",
    summary: "Whether tables, queues and the connected directories answer; 503 when tables or queues do not.",
    answers: { 200: "Health", 503: "Health" },
    anonymous: true,
  },
  {
    id: "getOpenApi",
    method: "get",
    path: "/openapi.json",
    summary: "This document.",
    answers: {},
  },
];

const anyCall = [500, 503];
/** What access control answers; the type of the body is asked of calls that change something. */
const refused = [401, 403, 429];
const refusedChange = [...refused, 415];

const titles: Readonly<Record<number, string>> = {
  200: "OK",
  202: "Accepted",
  400: "The request cannot be understood.",
  401: "Nobody is signed in.",
  403: "A role is missing.",
  404: "There is no such thing; `suggestions` names what there is.",
  409: "The state of things is in the way.",
  413: "The body is too large.",
  415: "The body is not sent as application/json.",
  422: "The request is understood and cannot be done.",
  429: "Too many calls; the header retry-after says how long to wait, in seconds.",
  500: "A bug in the engine.",
  503: "The storage or a directory does not answer.",
};

export function openApiDocument(): object {
  return {
    openapi: "3.1.0",
    info: {
      title: "Vestibule",
      version: "1",
      description:
        "Identity synchronisation: Entra guests become Active Directory accounts. " +
        `Problem documents (RFC 9457) have one of these codes: ${Object.keys(problemTitles).join(", ")}.`,
    },
    servers: [{ url: "/api" }],
    security: [{ functionKey: [] }, { signedIn: [] }],
    paths: Object.fromEntries(
      [...Map.groupBy(calls, ({ path }) => path)].map(([path, methods]) => [
        path,
        Object.fromEntries(methods.map((call) => [call.method, operation(call)])),
      ]),
    ),
    components: {
      securitySchemes: {
        functionKey: { type: "apiKey", in: "header", name: "x-functions-key" },
        signedIn: {
          type: "http",
          scheme: "bearer",
          description: "A token of Entra ID for this API, where API_AUTHENTICATION is entra.",
        },
      },
      schemas: componentSchemas(),
    },
  };
}

function operation(call: Call): object {
  const { answers, problems = [] } = call;
  const responses: Record<string, object> = {};
  const access = call.anonymous ? [] : call.method === "get" ? refused : refusedChange;
  for (const status of [...problems, ...access, ...anyCall])
    responses[status] = response(status, "application/problem+json", ref("Problem"));
  for (const [status, name] of Object.entries(answers))
    responses[status] = response(Number(status), "application/json", ref(name));
  if (Object.keys(answers).length === 0)
    responses[200] = response(200, "application/json", { type: "object" });
  const fromPath = [...call.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    description: pathParameters[name!],
    schema: text,
  }));
  const fromQuery = (call.query ?? []).map((name) => ({ name, in: "query", ...queryParameters[name] }));
  return {
    operationId: call.id,
    summary: call.summary,
    ...(call.anonymous === true ? { security: [] } : {}),
    parameters: [...fromPath, ...fromQuery],
    ...(call.body === undefined
      ? {}
      : { requestBody: { required: true, content: { "application/json": { schema: ref(call.body) } } } }),
    responses,
  };
}

function ref(name: string): object {
  return { $ref: schemaUri(name) };
}

function schemaUri(name: string): string {
  return `#/components/schemas/${name}`;
}

function response(status: number, type: string, schema: object): object {
  return { description: titles[status], content: { [type]: { schema } } };
}

function componentSchemas(): object {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of schemas) registry.add(schema, { id });
  const { schemas: made } = z.toJSONSchema(registry, {
    uri: schemaUri,
    io: "input",
    override: ({ jsonSchema }) => {
      // A format says what zod's pattern of half a page says.
      if (jsonSchema.format !== undefined) delete jsonSchema.pattern;
    },
  });
  return Object.fromEntries(
    // The document itself says which dialect it is in, and where each schema stands.
    Object.entries(made).map(([name, { $schema: _, $id: __, ...schema }]) => [name, schema]),
  );
}
