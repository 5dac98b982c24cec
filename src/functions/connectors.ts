import { app, type HttpRequest } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { approvePlanSchema } from "../api/requests.ts";
import { answering, body, json, Problem, paging, param, triggerOf, whoIs } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { parseFilter } from "../engine/connectorSpaceSearch.ts";
import { ExportPlans } from "../engine/exportPlan.ts";
import { Queries } from "../engine/queries.ts";

const queries = new Queries(engine);
const plans = new ExportPlans(engine);

function connectorOf(request: HttpRequest): string {
  return engine.definition(param(request, "name")).name;
}

app.http("listConnectors", {
  methods: ["GET"],
  authLevel,
  route: "connectors",
  handler: answering(async () => json(await queries.connectors())),
});

app.http("getConnector", {
  methods: ["GET"],
  authLevel,
  route: "connectors/{name}",
  handler: answering(async (request) => json(await queries.connector(connectorOf(request)))),
});

app.http("searchConnectorSpace", {
  methods: ["GET"],
  authLevel,
  route: "connectors/{name}/objects",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    const names = ["pendingImport", "pendingExport", "state", "dn", "anchor"] as const;
    const given = names.flatMap((name) => {
      const value = request.query.get(name);
      return value === null ? [] : [[name, value] as const];
    });
    const filter = parseFilter(Object.fromEntries(given));
    return json(await queries.objects(connectorOf(request), filter, limit, continuation));
  }),
});

app.http("getConnectorSpaceObject", {
  methods: ["GET"],
  authLevel,
  route: "connectors/{name}/objects/{anchor}",
  handler: answering(async (request) => {
    const connector = connectorOf(request);
    const anchor = param(request, "anchor");
    const object = await queries.object(connector, anchor);
    if (object === null) {
      throw new Problem(
        404,
        "not-found",
        `Connector ${connector} has no object ${anchor}; give its id or its anchor.`,
      );
    }
    return json(object);
  }),
});

app.http("getExportPlan", {
  methods: ["GET"],
  authLevel,
  route: "connectors/{name}/export-plan",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    return json(await plans.page(connectorOf(request), limit, continuation));
  }),
});

app.http("approveExportPlan", {
  methods: ["POST"],
  authLevel,
  route: "connectors/{name}/export-plan/approve",
  handler: answering(async (request) => {
    const connector = connectorOf(request);
    const { hash, why = null } = await body(request, approvePlanSchema);
    const by = whoIs(request);
    const { id } = await plans.approve(connector, { hash, why, by }, triggerOf(request));
    return json(await queries.run(id), 202, { location: `/api/runs/${id}` });
  }),
});
