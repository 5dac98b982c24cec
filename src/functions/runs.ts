import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { startRunSchema } from "../api/requests.ts";
import {
  answering,
  body,
  callerOf,
  json,
  Problem,
  paging,
  param,
  triggerOf,
  whoIs,
} from "../api/responses.ts";
import { engine } from "../composition.ts";
import { ByHand } from "../engine/byHand.ts";
import { Queries } from "../engine/queries.ts";

const queries = new Queries(engine);
const byHand = new ByHand(engine);

app.http("startRun", {
  methods: ["POST"],
  authLevel,
  route: "runs",
  handler: answering(async (request) => {
    const wanted = await body(request, startRunSchema);
    const trigger = triggerOf(request);
    const run =
      "cycle" in wanted
        ? await engine.startCycle(wanted.cycle, trigger, callerOf(request))
        : await engine.startProfile(wanted.connector, wanted.profile, trigger, callerOf(request));
    return json(await queries.run(run.id), 202, { location: `/api/runs/${run.id}` });
  }),
});

app.http("listRuns", {
  methods: ["GET"],
  authLevel,
  route: "runs",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    const connector = request.query.get("connector");
    const status = request.query.get("status");
    const filter = { ...(connector === null ? {} : { connector }), ...(status === null ? {} : { status }) };
    return json(await queries.runs(filter, limit, continuation));
  }),
});

app.http("getRun", {
  methods: ["GET"],
  authLevel,
  route: "runs/{id}",
  handler: answering(async (request) => {
    const run = await queries.run(param(request, "id"));
    if (run === null) throw new Problem(404, "not-found", `There is no run ${param(request, "id")}.`);
    return json(run);
  }),
});

app.http("stopRun", {
  methods: ["POST"],
  authLevel,
  route: "runs/{id}/stop",
  handler: answering(async (request) => {
    const run = await byHand.stop(param(request, "id"), {
      who: whoIs(request),
      trigger: triggerOf(request),
      why: null,
    });
    return json(await queries.run(run.id), 202);
  }),
});
