package core

// Version is the version of the engine. The gem's is in
// lib/phusion_passenger/version.rb; a test keeps the two the same.
const Version = "7.0.0"
