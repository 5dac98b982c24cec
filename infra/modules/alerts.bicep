metadata description = 'What somebody is told of. Each alert carries connector, objects and remedy as dimensions.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the action group.')
param actionGroupName string

@description('Required. Mail address; empty for none.')
param email string

@description('Required. Webhook; empty for none.')
@secure()
param webhookUrl string

@description('Required. Resource id of the Application Insights component.')
param applicationInsightsId string

@description('Required. Resource id of the Service Bus namespace.')
param serviceBusId string

@description('Required. Name of the function app, for the texts.')
param functionAppName string

@description('Required. Minutes without a successful cycle.')
param cycleOverdueMinutes int

var rules = [
  {
    name: 'failed-run'
    title: 'A run failed'
    severity: 2
    window: 'PT30M'
    every: 'PT15M'
    query: loadTextContent('../queries/failed-runs.kql')
  }
  {
    name: 'no-successful-cycle'
    title: 'No cycle has ended well for too long'
    severity: 1
    window: cycleOverdueMinutes == 1440 ? 'P1D' : 'PT${cycleOverdueMinutes}M'
    every: 'PT15M'
    query: loadTextContent('../queries/no-successful-cycle.kql')
  }
  {
    name: 'waiting-for-decision'
    title: 'Somebody has to decide: a limit was exceeded, or an approval is required'
    severity: 1
    window: 'PT30M'
    every: 'PT15M'
    query: loadTextContent('../queries/waiting-for-decision.kql')
  }
  {
    name: 'expiring'
    title: 'A certificate or secret ends soon'
    severity: 2
    window: 'P1D'
    every: 'P1D'
    query: loadTextContent('../queries/expiring.kql')
  }
  {
    name: 'permission-lost'
    title: 'Graph or the directory refuses access'
    severity: 1
    window: 'PT30M'
    every: 'PT15M'
    query: loadTextContent('../queries/permission-lost.kql')
  }
  {
    name: 'dead-letters'
    title: 'A message of a run could not be worked on'
    severity: 2
    window: 'PT30M'
    every: 'PT15M'
    query: loadTextContent('../queries/dead-letters.kql')
  }
]

var dimensions = ['connector', 'objects', 'remedy']

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'Vestibule'
    emailReceivers: empty(email) ? [] : [{ name: 'mail', emailAddress: email, useCommonAlertSchema: true }]
    webhookReceivers: empty(webhookUrl) ? [] : [{ name: 'webhook', serviceUri: webhookUrl, useCommonAlertSchema: true }]
  }
}

resource queryAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${functionAppName}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'Vestibule: ${rule.title}'
      description: '${rule.title} (${functionAppName}). What to do stands in the dimension remedy and in docs/operations.md#alert-${rule.name}.'
      severity: rule.severity
      enabled: true
      scopes: [applicationInsightsId]
      evaluationFrequency: rule.every
      windowSize: rule.window
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: [for dimension in dimensions: { name: dimension, operator: 'Include', values: ['*'] }]
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      // Windows overlap, as telemetry arrives late; nobody is told twice of the same.
      autoMitigate: false
      muteActionsDuration: rule.window
      actions: { actionGroups: [actionGroup.id] }
    }
  }
]

// The app takes its dead letters away itself: what stays for five minutes is seen where the app does not.
resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${functionAppName}-dead-letters-left'
  location: 'global'
  tags: tags
  properties: {
    description: 'Dead letters are left in a queue (${functionAppName}): the app does not take them. Is it running? See docs/operations.md#alert-dead-letters.'
    severity: 2
    enabled: true
    scopes: [serviceBusId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'dead-lettered'
          criterionType: 'StaticThresholdCriterion'
          metricName: 'DeadletteredMessages'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Minimum'
          dimensions: [{ name: 'EntityName', operator: 'Include', values: ['*'] }]
        }
      ]
    }
    actions: [{ actionGroupId: actionGroup.id }]
  }
}
