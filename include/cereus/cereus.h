/* cereus/cereus.h: all of the framework's public interface. */
#ifndef CEREUS_CEREUS_H
#define CEREUS_CEREUS_H

#include <cereus/acceptor.h>
#include <cereus/app.h>
#include <cereus/cluster.h>
#include <cereus/config.h>
#include <cereus/context.h>
#include <cereus/docs.h>
#include <cereus/engine.h>
#include <cereus/group.h>
#include <cereus/handler.h>
#include <cereus/log.h>
#include <cereus/module.h>
#include <cereus/remote.h>
#include <cereus/rules.h>
#include <cereus/serializer.h>
#include <cereus/session.h>
#include <cereus/status.h>
#include <cereus/timer.h>
#include <cereus/types.h>

#endif
