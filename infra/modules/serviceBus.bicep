metadata description = 'The queues that chain the steps of a run. Keys are off.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the namespace.')
param name string

@description('Required. Names of the queues.')
param queues string[]

@description('Required. Resource id of the Log Analytics workspace.')
param logAnalyticsId string

@description('Required. Reached by a private endpoint only; needs the Premium tier.')
param privateNetworking bool

@description('Required. Subnet of the private endpoint; empty without.')
param endpointSubnetId string

@description('Required. Private DNS zones by sub-resource.')
param dnsZoneIds object

@description('Required. First part of the names of private endpoints.')
param privateEndpointPrefix string

var tier = privateNetworking ? 'Premium' : 'Standard'

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: tier, tier: tier, capacity: privateNetworking ? 1 : null }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

resource stepQueues 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = [
  for queue in queues: {
    parent: namespace
    name: queue
    properties: {
      // A function works two minutes and renews its lock; five minutes is the most that Service Bus grants.
      lockDuration: 'PT5M'
      // The run protocol takes a message that came ten times for a dead one, and ends its run with the reason.
      maxDeliveryCount: 10
      // Message ids carry run, step, shard, sequence and attempt: a repeated send costs nothing. It saves work only;
      // the protocol is right without it.
      requiresDuplicateDetection: true
      duplicateDetectionHistoryTimeWindow: 'PT1H'
      deadLetteringOnMessageExpiration: true
      defaultMessageTimeToLive: 'P14D'
      requiresSession: false
      maxSizeInMegabytes: 1024
    }
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: namespace
  properties: {
    workspaceId: logAnalyticsId
    logs: [{ categoryGroup: 'audit', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

module endpoint 'privateEndpoint.bicep' = if (privateNetworking) {
  name: 'serviceBus-namespace'
  params: {
    location: location
    tags: tags
    name: '${privateEndpointPrefix}${name}'
    subnetId: endpointSubnetId
    serviceId: namespace.id
    groupId: 'namespace'
    dnsZoneId: dnsZoneIds[?'namespace'] ?? ''
  }
}

@description('Name of the namespace.')
output name string = namespace.name

@description('Resource id of the namespace.')
output id string = namespace.id

@description('Host name of the namespace.')
output fullyQualifiedNamespace string = replace(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':443/', '')
