import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { activateRulesSchema, putRuleSchema } from "../api/requests.ts";
import { answering, body, json, Problem, paging, param, rulesMaxBytes, whoIs } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { RuleAdministration } from "../engine/ruleAdministration.ts";

const rules = new RuleAdministration(engine);

const noRule = (name: string) => new Problem(404, "not-found", `There is no rule ${JSON.stringify(name)}.`);

app.http("listRules", {
  methods: ["GET"],
  authLevel,
  route: "rules",
  handler: answering(async () => json(await rules.rules())),
});

app.http("listRulesVersions", {
  methods: ["GET"],
  authLevel,
  route: "rules/versions",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    return json(await rules.versions(limit, continuation));
  }),
});

app.http("activateRules", {
  methods: ["POST"],
  authLevel,
  route: "rules/versions/{version}/activate",
  handler: answering(async (request) => {
    const { why = "" } = await body(request, activateRulesSchema);
    return json(await rules.activate(param(request, "version"), { by: whoIs(request), why }));
  }),
});

app.http("getRule", {
  methods: ["GET"],
  authLevel,
  route: "rules/{rule}",
  handler: answering(async (request) => {
    const name = param(request, "rule");
    const rule = await rules.rule(name);
    if (rule === null) throw noRule(name);
    return json(rule);
  }),
});

app.http("putRule", {
  methods: ["PUT"],
  authLevel,
  route: "rules/{rule}",
  handler: answering(async (request) => {
    const { text, why } = await body(request, putRuleSchema, rulesMaxBytes);
    return json(await rules.put(param(request, "rule"), text, { by: whoIs(request), why }));
  }),
});

app.http("deleteRule", {
  methods: ["DELETE"],
  authLevel,
  route: "rules/{rule}",
  handler: answering(async (request) => {
    const name = param(request, "rule");
    const why = request.query.get("why")?.trim() ?? "";
    if (why === "") throw new Problem(400, "bad-request", "Say why, as in ?why=No%20longer%20needed.");
    if (!(await rules.remove(name, { by: whoIs(request), why }))) throw noRule(name);
    return json(await rules.rules());
  }),
});
