import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { rulesDiffSchema } from "../api/requests.ts";
import {
  answering,
  body,
  callerOf,
  json,
  Problem,
  paging,
  param,
  rulesMaxBytes,
  triggerOf,
} from "../api/responses.ts";
import { engine } from "../composition.ts";
import { Queries } from "../engine/queries.ts";
import { RulesDiffs } from "../engine/rulesDiff.ts";
import { effectKinds } from "../engine/runs/rulesDiff.ts";

const queries = new Queries(engine);
const diffs = new RulesDiffs(engine);

app.http("startRulesDiff", {
  methods: ["POST"],
  authLevel,
  route: "rules/diff",
  handler: answering(async (request) => {
    const { rules } = await body(request, rulesDiffSchema, rulesMaxBytes);
    const run = await diffs.start(rules, triggerOf(request), callerOf(request));
    return json(await queries.run(run.id), 202, { location: `/api/runs/${run.id}` });
  }),
});

app.http("getRulesDiff", {
  methods: ["GET"],
  authLevel,
  route: "rules/diff/{id}",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    const connector = request.query.get("connector");
    const kind = request.query.get("change");
    if (kind !== null && (connector === null || !effectKinds.some((one) => one === kind)))
      throw new Problem(
        400,
        "bad-request",
        `change is one of ${effectKinds.join(", ")}, and goes with connector.`,
      );
    const of = {
      ...(connector === null ? {} : { connector: engine.definition(connector).name }),
      ...(kind === null ? {} : { kind }),
    };
    const found = await diffs.found(param(request, "id"), of, limit, continuation);
    if (found === null)
      throw new Problem(404, "not-found", `Run ${param(request, "id")} is no comparison of rules.`);
    return json(found);
  }),
});
