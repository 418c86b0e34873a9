//= require action_cable
//= require comments
//= require clock
